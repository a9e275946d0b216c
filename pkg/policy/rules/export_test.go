package rules

// Value is the input as the evaluator takes it.
var Value = Input.value
