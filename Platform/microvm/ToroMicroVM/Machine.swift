#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroCore

/// What is known of the machine after boot.
@safe enum Machine {
    // SAFETY: written by the first core before the first task runs, and then only read.
    nonisolated(unsafe) private(set) static var commandLine: (address: UInt64, length: Int) = (0, 0)
    nonisolated(unsafe) private(set) static var devices = ObjectList<MMIODevice>()
    nonisolated(unsafe) private(set) static var parameters: FirmwareFile?
    nonisolated(unsafe) private(set) static var loop: CoreLoop?

    /// Where the kernel's command line is, which stays there.
    static func setCommandLine(_ address: UInt64, _ length: Int) {
        unsafe commandLine = (address, length)
    }

    static func start(
        devices: ObjectList<MMIODevice>, parameters: FirmwareFile?, loop: CoreLoop
    ) {
        unsafe self.devices = devices
        unsafe self.parameters = parameters
        unsafe self.loop = loop
    }
}
#endif
