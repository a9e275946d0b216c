package rpc

// PatternWords is what the patterns of the .proto files are in words.
var PatternWords = patternWords

// ResourceOf reads the resource that a request is about.
var ResourceOf = resourceOf
