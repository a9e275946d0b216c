# METADATA
# scope: package
# title: What several rules ask of a plan
package nthlayer.lib

# The first pattern that matches, with * and ? that stop at slashes.
match(patterns, text) := [pattern | some pattern in patterns; glob.match(pattern, ["/"], text)][0]

# Whether an entry with teams (ids) and groups, either of which may be left out, is for the team; one with neither is for all.
covers(entry) if {
	count(object.get(entry, "teams", [])) == 0
	count(object.get(entry, "groups", [])) == 0
}

covers(entry) if match(object.get(entry, "teams", []), input.team.id)

covers(entry) if {
	some group in input.team.groups
	match(object.get(entry, "groups", []), group)
}

tiers := [name |
	some name, tier in data.nthlayer.params.staffing.tiers
	some group in input.team.groups
	match(tier.groups, group)
]

# The team's tier: the first, in the order of their names, of which the source names a group; else "default".
default tier := "default"

tier := tiers[0]

# Who approves a change that makes the team smaller: as many people as its tier asks for.
default by := {}

by := {"count": data.nthlayer.params.staffing.tiers[tier].approvals}
