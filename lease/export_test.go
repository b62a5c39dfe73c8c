package lease

// Hooks makes the hooks reachable from tests outside of the package.
type Hooks = hooks

// WithHooks returns the configuration with safety mechanisms switched off.
func WithHooks(c Config, h Hooks) Config {
	c.hooks = h
	return c
}

// Sabotage names the hooks whose absence a simulation notices soon. The others
// open gaps that need an unlucky moment; TestRule makes it.
var Sabotage = map[string]Hooks{
	"unguarded":    {unguarded: true},
	"immortal":     {immortal: true},
	"trustUnknown": {trustUnknown: true},
	"orphan":       {orphan: true},
	"skipHandoff":  {skipHandoff: true},
	"deafOwners":   {deafOwners: true},
}
