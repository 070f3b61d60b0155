import CMicroVM
import ToroMemory
import ToroProcess

/// What the running core has done and holds: for a service that reports it, and for tests.
public struct MachineStatistics: Equatable, Sendable {
    /// The usable bytes of the heap objects there are.
    public var liveBytes = 0
    /// The heap objects there are.
    public var liveObjects = 0
    /// The bytes that `memcpy` and `memmove` have copied.
    public var copiedBytes: UInt64 = 0
    /// Jobs that the run loop has run.
    public var jobs: UInt64 = 0
    /// How often the core has waited for an interrupt.
    public var halts: UInt64 = 0
    /// Interrupts that the core has taken.
    public var interrupts: UInt64 = 0
    /// Notifications of devices that were lost and made up for; 0 on a sound machine.
    public var lateNotifications: UInt64 = 0
}

extension MicroVM {
    /// The figures of the running core.
    public var statistics: MachineStatistics {
        var figures = MachineStatistics()
        #if hasFeature(Embedded)
        let heap = KernelHeap.arena.statistics
        figures.liveBytes = heap.liveBytes
        figures.liveObjects = heap.liveObjects
        // SAFETY: the running core's block is always there, and only that core writes to it.
        unsafe figures.copiedBytes = toro_core().pointee.copied_bytes
        unsafe figures.jobs = toro_core().pointee.jobs
        unsafe figures.halts = toro_core().pointee.halts
        unsafe figures.interrupts = toro_core().pointee.interrupts
        // SAFETY: the first core's loop, which has all devices, is set once, before anything runs.
        figures.lateNotifications = unsafe Machine.loop?.statistics.lateNotifications ?? 0
        #endif
        return figures
    }
}
