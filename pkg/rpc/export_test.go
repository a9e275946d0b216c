package rpc

// PatternWords is what the patterns of the .proto files are in words.
var PatternWords = patternWords
