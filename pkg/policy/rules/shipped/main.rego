# METADATA
# scope: package
# title: What all rules together say of a plan
# description: Each package below nthlayer.rules is a rule; what it finds stands in its set "violation".
package nthlayer

violations contains found if {
	some name
	some violation in data.nthlayer.rules[name].violation
	found := object.union(violation, {"rule": name})
}
