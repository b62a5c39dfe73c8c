// Package chaos tries whole programs, real processes over real files, under
// kill -9. It has nothing but tests.
//
//	parent ── starts, kills, starts again ──► child: producers ─► engine ─► workers ─► journal
//	   └──── reads the journal: what was acknowledged, what was done, under which term ◄──┘
package chaos
