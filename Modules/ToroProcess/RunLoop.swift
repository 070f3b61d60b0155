import ToroCore

/// What a run loop asks of the processor it runs on.
@Core public protocol Processor {
    /// Monotonic time.
    var now: Instant { get }
    /// Civil time, nil if it is not known.
    var wallTime: WallTime? { get }
    /// Whether a job waits in the core's queue.
    var hasJob: Bool { get }
    /// Runs the first job of the core's queue; false if there is none.
    func runJob() -> Bool
    /// Waits for an interrupt, which comes at `deadline` at the latest. An interrupt that was
    /// raised since the drivers were armed ends the wait at once.
    func halt(until deadline: Instant?)
    /// Called once a turn: does what other cores have left; false if that was nothing.
    func beginTurn() -> Bool
}

/// What a run loop has done so far.
public struct RunLoopStatistics: Equatable, Sendable {
    /// Jobs run.
    public var jobs: UInt64 = 0
    /// Timers fired.
    public var timers: UInt64 = 0
    /// Turns of the loop.
    public var turns: UInt64 = 0
    /// Waits for an interrupt.
    public var halts: UInt64 = 0
}

/// One core's loop: jobs, drivers and timers while there is work, sleep when there is none.
///
///     jobs ─▶ poll the drivers ─▶ fire timers ─▶ anything done? ── yes ─▶ again
///                                                      │ no
///              disarm ◀── interrupt ── halt ◀── all armed, nothing came meanwhile
@Core public final class RunLoop<Hardware: Processor>: Timekeeper {
    /// How many jobs, and how many timers, run before the drivers get their turn.
    private static var batch: Int { 64 }

    /// The processor the loop runs on.
    public let processor: Hardware
    private var drivers = ObjectList<Driver>()
    private var timers = TimerQueue()

    /// What the loop has done so far.
    public private(set) var statistics = RunLoopStatistics()

    /// A loop on `processor`.
    public nonisolated init(_ processor: Hardware) where Hardware: Sendable {
        self.processor = processor
    }

    /// Polls `driver` from now on.
    public func add(_ driver: any Pollable) { drivers.append(Driver(driver)) }

    /// Monotonic time.
    public var now: Instant { processor.now }

    /// Civil time, nil if it is not known.
    public var wallTime: WallTime? { processor.wallTime }

    /// The timers that have not fired.
    public var pendingTimers: Int { timers.count }

    /// Calls `action` once, at `deadline` or soon after. O(log n).
    public func schedule(at deadline: Instant, _ action: @escaping @Core () -> Void) -> TimerID {
        timers.schedule(at: deadline, action)
    }

    /// Takes a timer back. O(log n).
    public func cancel(_ timer: TimerID) { timers.cancel(timer) }

    /// Runs for ever.
    public func run() -> Never {
        while true {
            if !turn() { sleep() }
        }
    }

    /// Runs some jobs, polls every driver and fires due timers; false if there was nothing to do.
    public func turn() -> Bool {
        statistics.turns += 1
        var worked = processor.beginTurn()
        for _ in 0..<Self.batch {
            guard processor.runJob() else { break }
            statistics.jobs += 1
            worked = true
        }
        for index in 0..<drivers.count where drivers[index].device.poll() { worked = true }
        guard timers.next != nil else { return worked }
        let now = processor.now
        for _ in 0..<Self.batch {
            guard let action = timers.popDue(at: now) else { break }
            statistics.timers += 1
            worked = true
            action()
        }
        return worked
    }

    /// Arms the drivers and halts, unless work came meanwhile.
    public func sleep() {
        var armed = 0
        var isQuiet = !processor.hasJob
        while isQuiet, armed < drivers.count {
            isQuiet = drivers[armed].device.arm()
            armed += 1
        }
        if isQuiet {
            statistics.halts += 1
            processor.halt(until: timers.next)
        }
        for index in 0..<armed { drivers[index].device.disarm() }
    }
}

/// A driver in the loop's list.
private final class Driver {
    let device: any Pollable
    init(_ device: any Pollable) { self.device = device }
}
