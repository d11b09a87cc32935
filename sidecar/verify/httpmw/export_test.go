package httpmw

// Over makes the middleware of a checker.
var Over = over
