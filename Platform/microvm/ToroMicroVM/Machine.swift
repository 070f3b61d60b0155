#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroCore

/// What is known of the machine after boot.
@safe enum Machine {
    // SAFETY: written by the first core before the first task runs, and then only read.
    nonisolated(unsafe) private(set) static var words = KernelCommandLine(parsing: RawSpan())
    nonisolated(unsafe) private(set) static var processors = ProcessorTable()
    nonisolated(unsafe) private(set) static var loop: CoreLoop?

    static func start(words: KernelCommandLine, processors: ProcessorTable, loop: CoreLoop) {
        unsafe self.words = words
        unsafe self.processors = processors
        unsafe self.loop = loop
    }
}
#endif
