#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroCore

/// Brings up the cores besides the first, each with page tables, stacks, descriptors and a run
/// loop of its own (Intel SDM volume 3, 8.4).
@safe enum FurtherCores {
    private static let stackSize: UInt64 = 64 << 10
    private static let patience: UInt64 = 200_000

    // SAFETY: the first core writes this before it starts the core that reads it.
    nonisolated(unsafe) private static var starting: Preparation?
    nonisolated(unsafe) private(set) static var apicIDs: [UInt64] = [UInt64(LocalAPIC.id)]

    /// What a core finds when it wakes up.
    private struct Preparation {
        var tables: UInt64
        var stacks: Stacks.Tops
        var clock: MachineClock
    }

    /// Starts every further processor of the machine; `clock` waits and goes with each of them.
    ///
    /// A processor that does not answer within 0.2 s is reported on the console and left out.
    static func start(_ table: ProcessorTable, clock: MachineClock) {
        for id in table.processors.dropFirst() {
            do throws(PageMapError) {
                try start(UInt64(id), clock: clock)
            } catch {
                Console.write("toro: no memory for a further core\n")
                return
            }
        }
    }

    private static func start(_ id: UInt64, clock: MachineClock) throws(PageMapError) {
        let index = unsafe UInt64(apicIDs.count)
        let pages = try Memory.pageMap(forCore: index)
        let stacks = try Stacks.make(core: index, size: stackSize, in: pages)
        guard let tables = Frames.zeroed(), let block = Frames.zeroed() else {
            throw .outOfMemory
        }
        // SAFETY: the new frame is this core's block, and large enough for it.
        let core = unsafe UnsafeMutablePointer<toro_core>(bitPattern: UInt(block))
            .unsafelyUnwrapped
        unsafe core.pointee.index = index
        unsafe core.pointee.apic_id = id
        unsafe core.pointee.stack_top = stacks.main
        unsafe core.pointee.stack_size = stackSize
        unsafe core.pointee.page_map = pages.root
        unsafe starting = Preparation(tables: tables, stacks: stacks, clock: clock)
        toro_set_trampoline_arguments(pages.root, stacks.main, block)
        LocalAPIC.start(id, page: UInt8(Memory.trampoline >> 12)) { clock.spin(microseconds: $0) }
        let end = clock.now + .microseconds(patience)
        while unsafe toro_core_is_ready(core) == 0 {
            guard clock.now < end else {
                Console.write("toro: a further core did not start\n")
                return
            }
            toro_relax()
        }
        unsafe apicIDs.append(id)
    }

    /// On the new core, first thing.
    static func enter() -> Never {
        // SAFETY: the first core waits in `start` until `toro_core_set_ready`.
        guard let preparation = unsafe starting else { PowerOff.now(.exception) }
        InterruptTable.load(at: unsafe Boot.interruptTable)
        Descriptors.load(
            at: preparation.tables,
            stacks: (preparation.stacks.exceptions, preparation.stacks.interrupts))
        LocalAPIC.start()
        let core = Core()
        unsafe toro_core().pointee.context = unsafe Unmanaged.passRetained(core).toOpaque()
        let loop = CoreLoop.make(clock: preparation.clock)
        core.start(clock: loop)
        toro_core_set_ready()
        loop.enter()
    }
}

/// Where a further core enters Swift.
@c(toro_core_start) public func coreStart() {
    FurtherCores.enter()
}
#endif
