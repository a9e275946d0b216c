package conduct

// Chores does what is done now and then.
var Chores = (*Conductor).chores
