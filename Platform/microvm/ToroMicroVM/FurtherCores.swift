#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroCore
import ToroProcess

/// Brings up the cores besides the first, each with page tables, stacks, descriptors and a run
/// loop of its own (Intel SDM volume 3, 8.4).
@safe enum FurtherCores {
    private static let stackSize: UInt64 = 64 << 10
    private static let patience: TimeSpan = .milliseconds(200)

    // SAFETY: the first core writes this before it starts the core that reads it.
    nonisolated(unsafe) private static var starting: Preparation?

    /// What a core finds when it wakes up.
    private struct Preparation {
        var tables: UInt64
        var stacks: Stacks.Tops
        var clock: MachineClock
        var mailbox: Mailbox
    }

    /// Starts every further processor of the machine.
    @Core static func start() -> Cores {
        guard let loop = unsafe Machine.loop else { return Cores(mailboxes: [], apicIDs: []) }
        let clock = loop.processor.clock
        let boot = UInt64(LocalAPIC.id)
        let own = Mailbox()
        // SAFETY: the running core's block is always there.
        unsafe setMailbox(own, of: toro_core())
        var mailboxes = [own]
        var apicIDs = [boot]
        for id in unsafe PhysicalMemory.processorTable()?.processors ?? [] where id != boot {
            guard mailboxes.count < Int(TORO_MAXIMUM_CORES) else { break }
            let mailbox = Mailbox()
            do throws(PageMapError) {
                guard try start(UInt64(id), UInt64(mailboxes.count), clock, mailbox) else {
                    Console.write("toro: a further core did not start\n")
                    break
                }
            } catch {
                Console.write("toro: no memory for a further core\n")
                break
            }
            mailboxes.append(mailbox)
            apicIDs.append(UInt64(id))
        }
        return Cores(mailboxes: mailboxes, apicIDs: apicIDs)
    }

    /// Starts the processor with APIC id `id` as core `index`; false if it does not answer.
    private static func start(
        _ id: UInt64, _ index: UInt64, _ clock: MachineClock, _ mailbox: Mailbox
    ) throws(PageMapError) -> Bool {
        let pages = try Memory.pageMap(forCore: index)
        let stacks = try Stacks.make(core: index, size: stackSize, in: pages)
        guard let tables = Frames.zeroed(), let block = Frames.zeroed() else {
            throw .outOfMemory
        }
        // SAFETY: the new frame is this core's block, and large enough for it.
        let core = unsafe UnsafeMutablePointer<toro_core>(bitPattern: UInt(block))
            .unsafelyUnwrapped
        unsafe core.pointee.index = index
        unsafe core.pointee.stack_top = stacks.main
        unsafe core.pointee.stack_size = stackSize
        unsafe starting = Preparation(
            tables: tables, stacks: stacks, clock: clock, mailbox: mailbox)
        toro_set_trampoline_arguments(pages.root, stacks.main, block) { FurtherCores.enter() }
        LocalAPIC.start(id, page: UInt8(Memory.trampoline >> 12)) { clock.spin(microseconds: $0) }
        let end = clock.now + patience
        while unsafe toro_core_is_ready(core) == 0 {
            guard clock.now < end else { return false }
            toro_relax()
        }
        return true
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
        // SAFETY: as above; nothing else writes to this core's block yet.
        unsafe toro_core().pointee.context = unsafe Unmanaged.passRetained(core).toOpaque()
        unsafe setMailbox(preparation.mailbox, of: toro_core())
        let loop = CoreLoop.make(clock: preparation.clock, isFirst: false)
        core.start(clock: loop)
        toro_core_set_ready()
        loop.enter()
    }

    /// Has the run loop of `core` deliver what comes into `mailbox`.
    @unsafe private static func setMailbox(
        _ mailbox: Mailbox, of core: UnsafeMutablePointer<toro_core>
    ) {
        // SAFETY: the block is the core's, and the mailbox is retained for ever.
        unsafe core.pointee.mailbox = unsafe Unmanaged.passRetained(mailbox).toOpaque()
        unsafe core.pointee.deliver = { mailbox in
            let mailbox = unsafe Unmanaged<Mailbox>.fromOpaque(mailbox).takeUnretainedValue()
            return Core.assumeIsolated { mailbox.deliver() }
        }
    }
}

#endif
