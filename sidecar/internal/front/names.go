package front

// identityPrefix is what the names of all identity headers begin with.
const identityPrefix = "X-Auth-"

// overriding are the names of headers by which a client can ask some applications for
// another method, host or path than the request's: frameworks' ways around clients that
// know GET and POST alone, and what gateways tell of a request that they have rewritten.
var overriding = [...]string{ //nolint:gochecknoglobals // constant
	"X-Http-Method", "X-Http-Method-Override", "X-Method", "X-Method-Override", "X-Original-Method",
	"X-Original-Url", "X-Original-Uri", "X-Override-Url", "X-Rewrite-Url", "X-Http-Destinationurl",
}

// IsIdentity reports whether a header field of that name could be taken for one of
// [Answer.Identity].
func IsIdentity(name string) bool { return Begins(name, identityPrefix) }

// IsOverride reports whether an application could obey a header field of that name in
// the place of the request's method or path, which are what is judged.
func IsOverride(name string) bool {
	for _, known := range overriding {
		if len(name) == len(known) && Begins(name, known) {
			return true
		}
	}
	return false
}

// Begins reports whether the name of a header field begins with prefix, or could be
// taken for one that does: HTTP makes no difference between cases, and CGI and its kin
// none between a hyphen and whatever else cannot stand in a variable's name (RFC 3875
// section 4.1.18; PHP puts an underscore for a dot, too).
func Begins(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if folded(name[i]) != folded(prefix[i]) {
			return false
		}
	}
	return true
}

// folded is a character of a name as the coarsest reader sees it.
func folded(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return c
	case c >= 'A' && c <= 'Z':
		return c - 'A' + 'a'
	}
	return '-'
}
