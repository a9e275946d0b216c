package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// skewVariable shifts the wall clock of the binaries that build makes, and leaves time spans alone: a machine whose clock
// is wrong.
const skewVariable = "NTHLAYER_TEST_SKEW"

// build makes the services in dir, with a copy of package time in which the wall clock can be shifted. There is no way to
// give one process another time without being root, and nothing of the services may know of it. The first build on a
// machine compiles everything anew and takes a minute or two; then it is cached.
func build(dir string) error {
	overlay, err := skewedTime(dir)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", dir+"/",
		"./services/gateway", "./services/reconcile-worker", "./services/audit-scheduler", "./services/notifier")
	cmd.Dir = filepath.Join("..", "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the services: %w\n%s", err, out)
	}
	return nil
}

// skewedTime writes the patched time.go and the overlay that names it.
func skewedTime(dir string) (overlay string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the Go installation: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", fmt.Errorf("read package time: %w", err)
	}
	patched := string(source)
	for _, patch := range [][2]string{
		{"\tsec, nsec, mono := runtimeNow()\n", "\tsec, nsec, mono := runtimeNow()\n\tsec += testSkew\n"},
		{"\t_ \"unsafe\"", "\t\"syscall\"\n\t_ \"unsafe\""},
	} {
		if !strings.Contains(patched, patch[0]) {
			return "", fmt.Errorf("%s of %s is not as expected: it has no %q", original, runtime.Version(), patch[0])
		}
		patched = strings.Replace(patched, patch[0], patch[1], 1)
	}
	patched += `
var testSkew = func() int64 {
	text, _ := syscall.Getenv("` + skewVariable + `")
	d, _ := ParseDuration(text)
	return int64(d / Second)
}()
`
	replacement := filepath.Join(dir, "time.go.txt")
	if err := os.WriteFile(replacement, []byte(patched), 0o600); err != nil {
		return "", fmt.Errorf("write the patched package time: %w", err)
	}
	content, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	if err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}
