package service

import (
	"os"

	"github.com/google/uuid"
)

// Process names this process among all that ever ran: "host/uuid".
func Process() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "/" + uuid.NewString()
}
