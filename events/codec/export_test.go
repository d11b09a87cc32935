package codec

// DecodeAny is the general way, for comparison.
var DecodeAny = decodeAny
