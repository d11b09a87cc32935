package scenario

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadTokens(t *testing.T) {
	long := strings.Repeat("a", maxToken-1)
	for text, want := range map[string][]string{
		"a.b.c":                  {"Bearer a.b.c"},
		"a.b.c\n":                {"Bearer a.b.c"},
		"aA0-._~+/==\nb":         {"Bearer aA0-._~+/==", "Bearer b"},
		"a\nb\na\n":              {"Bearer a", "Bearer b", "Bearer a"},
		long + "\nb\n":           {"Bearer " + long, "Bearer b"},
		strings.Repeat("z\n", 3): {"Bearer z", "Bearer z", "Bearer z"},
	} {
		got, err := ReadTokens(strings.NewReader(text))
		if err != nil || fmt.Sprint(got.authorization) != fmt.Sprint(want) {
			t.Errorf("%.40q: %v, %v", text, got.authorization, err)
		}
	}
}

func TestReadTokensRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"nothing":         {"", "none"},
		"a blank line":    {"hunter2\n\nhunter2\n", "number 2"},
		"a field":         {"Bearer hunter2\n", "number 1"},
		"a return":        {"hunter2\r\nhunter2\r\n", "number 1"},
		"a control":       {"hunter2\x00", "number 1"},
		"another header":  {"hunter2\n hunter2: x", "number 2"},
		"an umlaut":       {"hunter2ü", "number 1"},
		"equals":          {"==", "number 1"},
		"equals inside":   {"hunter2=2", "number 1"},
		"quotes":          {`"hunter2"`, "number 1"},
		"a long line":     {"hunter2\n" + strings.Repeat("hunter2", maxToken/7+1), "number 2 is longer"},
		"too many tokens": {strings.Repeat("a\n", maxTokens+1), "more than 1000000"},
	} {
		_, err := ReadTokens(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a token: %v", name, err)
		}
	}
	if _, err := ReadTokens(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken file: %v", err)
	}
}

func TestTokensDoNotShow(t *testing.T) {
	tokens, err := NewTokens([]string{"hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	v := Verify{Tokens: tokens}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, x := range []any{tokens, v} {
			if text := fmt.Sprintf(format, x); strings.Contains(text, "hunter2") {
				t.Errorf("%s shows %s", format, text)
			}
		}
	}
}
