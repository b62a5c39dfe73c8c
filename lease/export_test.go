package lease

// Hooks makes the hooks reachable from tests outside of the package.
type Hooks = hooks

// WithHooks returns the configuration with safety mechanisms switched off.
func WithHooks(c Config, h Hooks) Config {
	c.hooks = h
	return c
}

// Sabotage names every hook, and switches it off.
var Sabotage = map[string]Hooks{
	"unguarded":     {unguarded: true},
	"immortal":      {immortal: true},
	"trustUnknown":  {trustUnknown: true},
	"orphan":        {orphan: true},
	"seizeUnfenced": {seizeUnfenced: true},
	"bumpFirst":     {bumpFirst: true},
	"forceEarly":    {forceEarly: true},
	"applyLate":     {applyLate: true},
	"forgetPending": {forgetPending: true},
	"skipHandoff":   {skipHandoff: true},
	"deafOwners":    {deafOwners: true},
}

// LeaderKey is the member row that says who leads.
const LeaderKey = leaderKey
