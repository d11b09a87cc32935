package strict

import (
	"errors"
	"unicode/utf8"
)

// Reasons to refuse a text. They say nothing of its content, which is hostile
// and may be secret.
var (
	ErrUTF8      = errors.New("not valid UTF-8")
	ErrSyntax    = errors.New("not one JSON object")
	ErrDuplicate = errors.New("an object names a member twice")
	ErrDepth     = errors.New("nested too deeply")
	ErrMembers   = errors.New("an object has too many members")
	ErrNumber    = errors.New("a number is too long or too large")
	ErrString    = errors.New("a string holds NUL or an unpaired surrogate")
)

// Limits bound what [ParseObject] takes on. Their zero value accepts nothing.
type Limits struct {
	// Depth is how many objects and arrays may be open at once, the outermost
	// included.
	Depth int
	// Members is how many members one object may have. Looking for duplicates
	// compares each name with those before it, so keep it in the hundreds.
	Members int
}

// Object is the members of one JSON object that [ParseObject] has accepted. It
// refers to the text it was read from and is safe for concurrent reading.
type Object struct{ members []member }

// member is one name with its value's text.
type member struct {
	name string
	text string
}

// ParseObject reads text as exactly one JSON object, white space around it
// allowed as RFC 8259 section 2 has it. The error is one of this package's.
func ParseObject(text string, limits Limits) (Object, error) {
	if !utf8.ValidString(text) {
		return Object{}, ErrUTF8
	}
	s := scanner{text: text, limits: limits, members: make([]member, 0, 20)}
	s.space()
	if s.peek() != '{' {
		return Object{}, ErrSyntax
	}
	if err := s.value(1); err != nil {
		return Object{}, err
	}
	s.space()
	if s.at != len(text) {
		return Object{}, ErrSyntax
	}
	return Object{members: s.members}, nil
}

// Get finds a member by its exact name; names are case-sensitive.
func (o Object) Get(name string) (Value, bool) {
	for i := range o.members {
		if o.members[i].name == name {
			return Value{o.members[i].text}, true
		}
	}
	return Value{}, false
}

// Has reports whether the object has a member of that name, null included.
func (o Object) Has(name string) bool {
	_, ok := o.Get(name)
	return ok
}

// scanner checks text from left to right. Members of the outermost object stay
// in members; those of inner objects lie above them only while their object is
// open, to be compared with each other.
type scanner struct {
	text    string
	at      int
	limits  Limits
	members []member
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// value reads one value; depth counts the containers open once it has begun, if
// it is one.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, _, err := s.quoted()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return ErrSyntax
}

func (s *scanner) object(depth int) error {
	if depth > s.limits.Depth {
		return ErrDepth
	}
	s.at++ // the brace that value saw
	first := len(s.members)
	for s.space(); !s.take('}'); s.space() {
		if len(s.members) > first {
			if !s.take(',') {
				return ErrSyntax
			}
			s.space()
		}
		if err := s.member(depth, first); err != nil {
			return err
		}
	}
	if depth > 1 {
		s.members = s.members[:first]
	}
	return nil
}

func (s *scanner) member(depth, first int) error {
	name, err := s.name()
	if err != nil {
		return err
	}
	for i := first; i < len(s.members); i++ {
		if s.members[i].name == name {
			return ErrDuplicate
		}
	}
	if len(s.members)-first >= s.limits.Members {
		return ErrMembers
	}
	s.members = append(s.members, member{name: name})
	s.space()
	if !s.take(':') {
		return ErrSyntax
	}
	s.space()
	begin, own := s.at, len(s.members)-1
	if err := s.value(depth + 1); err != nil {
		return err
	}
	s.members[own].text = s.text[begin:s.at]
	return nil
}

func (s *scanner) array(depth int) error {
	if depth > s.limits.Depth {
		return ErrDepth
	}
	s.at++ // the bracket that value saw
	s.space()
	if s.take(']') {
		return nil
	}
	for {
		s.space()
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.space()
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return ErrSyntax
		}
	}
}

func (s *scanner) word(w string) error {
	if len(s.text)-s.at < len(w) || s.text[s.at:s.at+len(w)] != w {
		return ErrSyntax
	}
	s.at += len(w)
	return nil
}
