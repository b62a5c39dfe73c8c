// Package powercut cuts the power under an engine on real file systems. It has
// nothing but tests, which need root, loop devices and the tools of ext4 and XFS.
//
//	parent ── mkfs, mount ─────────► loop image with ext4 or XFS
//	   │                                  ▲ puts, durably
//	   ├── acknowledgements, by pipe ◄─ child: engine
//	   ├── shuts the file system down without a flush: nothing gets out any more
//	   └── mounts it again, opens the engine: is all there that was acknowledged?
package powercut
