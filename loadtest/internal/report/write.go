package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts the result into dir, which is there already, as SCENARIO.json,
// SCENARIO.txt and SCENARIO.bench. What cannot be written does not keep the rest from
// it.
func (r Result) Write(dir string) error {
	text, err := r.JSON()
	if err == nil {
		err = Replace(filepath.Join(dir, r.Scenario+".json"), text)
	}
	return errors.Join(
		err,
		Replace(filepath.Join(dir, r.Scenario+".txt"), []byte(r.Text())),
		Replace(filepath.Join(dir, r.Scenario+".bench"), r.Bench()),
	)
}

// Replace makes content what the file at path holds, as a whole or, if there is an
// error, not at all.
func Replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
