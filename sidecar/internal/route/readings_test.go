package route_test

import (
	"net/url"
	"path"
	"strings"
)

// readings are the paths that servers in the field would make of a request target:
// decoded once or twice or not, before or after dots are resolved, with backslashes
// for slashes, without parameters, with doubled slashes merged.
func readings(target string) []string {
	target, _, _ = strings.Cut(target, "?")
	all := map[string]bool{target: true}
	for range 4 {
		for p := range all {
			for _, read := range []func(string) string{decode, path.Clean, backslashes, parameters} {
				all[read(p)] = true
			}
		}
	}
	list := make([]string, 0, len(all))
	for p := range all {
		list = append(list, strings.TrimSuffix(p, "/"))
	}
	return list
}

func decode(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}

func backslashes(s string) string { return strings.ReplaceAll(s, `\`, "/") }

// parameters drops what follows a semicolon in each segment, as servlets do.
func parameters(s string) string {
	segments := strings.Split(s, "/")
	for i, seg := range segments {
		segments[i], _, _ = strings.Cut(seg, ";")
	}
	return strings.Join(segments, "/")
}
