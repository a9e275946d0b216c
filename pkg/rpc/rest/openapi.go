package rest

import (
	"encoding/json"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// withStatuses makes an OpenAPI description say the statuses that are answered: the generator knows 200 alone.
func withStatuses(openAPI string, statuses map[protoreflect.FullName]int) (string, error) {
	var description map[string]any
	if err := json.Unmarshal([]byte(openAPI), &description); err != nil {
		return "", err
	}
	answered := map[string]string{}
	for message, status := range statuses {
		answered["#/definitions/"+string(message.Name())] = strconv.Itoa(status)
	}
	paths, _ := description["paths"].(map[string]any)
	for _, path := range paths {
		methods, _ := path.(map[string]any)
		for _, method := range methods {
			operation, _ := method.(map[string]any)
			responses, _ := operation["responses"].(map[string]any)
			answer, _ := responses["200"].(map[string]any)
			schema, _ := answer["schema"].(map[string]any)
			ref, _ := schema["$ref"].(string)
			if status, other := answered[ref]; other {
				delete(responses, "200")
				responses[status] = answer
			}
		}
	}
	content, err := json.MarshalIndent(description, "", "  ")
	return string(content), err
}
