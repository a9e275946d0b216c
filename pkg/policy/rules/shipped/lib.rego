# METADATA
# scope: package
# title: What several rules ask of a plan
package nthlayer.lib

# The first pattern that matches, with * and ? that stop at slashes.
match(patterns, text) := [pattern | some pattern in patterns; glob.match(pattern, ["/"], text)][0]
