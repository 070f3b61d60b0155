#if hasFeature(Embedded)
import CMicroVM
import ToroCore
import ToroProcess

/// The run loop of a core of this machine.
typealias CoreLoop = RunLoop<CoreProcessor>

/// The running core as its run loop sees it. Interrupts are off but for the instruction that
/// waits for one, so nothing can come between arming the drivers and the wait.
@Core struct CoreProcessor: Processor, Sendable {
    /// The longest wait the APIC timer's 32 bits allow.
    private static let longest: UInt64 = 4_000_000_000

    nonisolated let clock: MachineClock
    /// On the first core.
    nonisolated let keeper: ClockKeeper?

    var now: Instant { clock.now }
    var wallTime: WallTime? { clock.wallTime }
    var hasJob: Bool { unsafe toro_core().pointee.jobs_head != nil }

    func runJob() -> Bool {
        guard let job = unsafe toro_take_job() else { return false }
        unsafe toro_run_job(job)
        return true
    }

    func halt(until deadline: Instant?) {
        if let keeper, keeper.halt(until: deadline) { return }
        guard let deadline else {
            toro_halt()
            return
        }
        let span = (deadline - clock.now).nanoseconds
        guard span > 0 else { return }
        // A longer wait is made of several: the loop finds nothing to do and halts again.
        LocalAPIC.setTimer(UInt32(min(span, CoreProcessor.longest)))
        toro_halt()
        LocalAPIC.setTimer(0)
    }

    func beginTurn() -> Bool {
        KernelHeap.takeRemoteFrees()
        return toro_deliver()
    }
}

extension RunLoop<CoreProcessor> {
    /// The first core's loop, which keeps the clock, or a further one's.
    nonisolated static func make(clock: MachineClock, isFirst: Bool) -> CoreLoop {
        CoreLoop(CoreProcessor(clock: clock, keeper: isFirst ? ClockKeeper(clock) : nil))
    }

    /// Runs for ever, from code that is not in the loop yet.
    nonisolated func enter() -> Never {
        Core.assumeIsolated { run() }
    }
}
#endif
