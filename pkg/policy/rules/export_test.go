package rules

// Value is the input as the evaluator takes it.
var Value = Input.value

// Renew has a keeper look once.
var Renew = (*Keeper).renew
