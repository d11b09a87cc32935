package token

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRead(t *testing.T) {
	long := strings.Repeat("a", maxToken-1)
	for text, want := range map[string][]string{
		"a.b.c":                  {"a.b.c"},
		"a.b.c\n":                {"a.b.c"},
		"aA0-._~+/==\nb":         {"aA0-._~+/==", "b"},
		"a\nb\na\n":              {"a", "b", "a"},
		long + "\nb\n":           {long, "b"},
		strings.Repeat("z\n", 3): {"z", "z", "z"},
	} {
		got, err := Read(strings.NewReader(text))
		if err != nil || len(got) != len(want) {
			t.Errorf("%.40q: %d, %v", text, len(got), err)
			continue
		}
		for i, token := range got {
			if token.Raw() != want[i] || token.Authorization() != "Bearer "+want[i] {
				t.Errorf("%.40q: %.40q, %.40q", text, token.Raw(), token.Authorization())
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
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
		_, err := Read(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a token: %v", name, err)
		}
	}
	if _, err := Read(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken file: %v", err)
	}
}

func TestTokensDoNotShow(t *testing.T) {
	token := New("hunter2")
	holder := struct{ Token Token }{token}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, x := range []any{token, &token, []Token{token}, holder} {
			if text := fmt.Sprintf(format, x); strings.Contains(text, "hunter2") {
				t.Errorf("%s shows %s", format, text)
			}
		}
	}
	if zero := (Token{}); zero.Raw() != "" || zero.Authorization() != "" {
		t.Errorf("the zero token is %q", zero.Authorization())
	}
}
