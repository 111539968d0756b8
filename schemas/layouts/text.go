package layouts

import (
	"fmt"
	"os"
)

// Text returns the YAML of a built-in layout, or of a file, as it was written.
func Text(nameOrPath string) ([]byte, error) {
	if b, err := builtin.ReadFile("builtin/" + nameOrPath + ".yaml"); err == nil {
		return b, nil
	}
	b, err := os.ReadFile(nameOrPath)
	if err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	return b, nil
}
