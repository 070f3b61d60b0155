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
    /// How often work was found only because the loop looked after a device that owed something: a
    /// notification was lost, by the driver's memory accesses, the hypervisor or the device. One that
    /// is slow counts only if it happens to move within a millisecond of a reminder.
    public var lateNotifications: UInt64 = 0
}

/// One core's loop: jobs, drivers and timers while there is work, sleep when there is none.
///
///     jobs ─▶ poll the drivers ─▶ fire timers ─▶ anything done? ── yes ─▶ again
///                                                      │ no
///              disarm ◀── interrupt ── halt ◀── all armed, nothing came meanwhile
///
/// While a device owes something, the halt is bounded: a lost notification costs 50 ms, not the
/// service. An idle core has no such bound.
@Core public final class RunLoop<Hardware: Processor>: Timekeeper {
    /// How many jobs, and how many timers, run before the drivers get their turn.
    private static var batch: Int { 64 }
    /// How many turns a busy loop makes before it looks after the devices.
    private static var busyTurns: UInt64 { 256 }
    /// How long an interrupt may be under way: a busy host runs device and hypervisor in turns.
    private static var interruptTime: TimeSpan { .milliseconds(25) }

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
        if statistics.turns % Self.busyTurns == 0 { _ = lookAfterDevices() }
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
        if isQuiet { rest() }
        for index in 0..<armed { drivers[index].device.disarm() }
    }

    /// Halts until something happens, or it is time to look after a device.
    private func rest() {
        let look = lookAfterDevices()
        halt(until: look)
        guard look < .distantFuture else { return }
        if processor.now < look {
            for index in 0..<drivers.count where drivers[index].hasAnswered(by: processor.now) {
                statistics.lateNotifications += 1
            }
        } else if hasFinishedWork {
            // Its interrupt may be under way.
            let limit = processor.now + Self.interruptTime
            halt(until: limit)
            if processor.now >= limit { statistics.lateNotifications += 1 }
        }
    }

    private func halt(until limit: Instant) {
        statistics.halts += 1
        let deadline = min(timers.next ?? .distantFuture, limit)
        processor.halt(until: deadline < .distantFuture ? deadline : nil)
    }

    /// Whether a device that owed something has finished some of it.
    private var hasFinishedWork: Bool {
        for index in 0..<drivers.count
        where drivers[index].device.debt != nil && !drivers[index].device.arm() {
            return true
        }
        return false
    }

    /// Reminds devices that have owed something for too long; when to look again.
    private func lookAfterDevices() -> Instant {
        var next = Instant.distantFuture
        for index in 0..<drivers.count {
            guard let debt = drivers[index].device.debt else { continue }
            next = min(next, drivers[index].look(debt, at: processor.now))
        }
        return next
    }
}

/// A driver in the loop's list, and how long its device has owed it something without a movement.
@Core private final class Driver {
    /// How long a device may rest before it is reminded, at first and at most. It doubles, so that
    /// one that is slow is left in peace.
    private static var firstWait: TimeSpan { .milliseconds(25) }
    private static var longestWait: TimeSpan { .seconds(5) }
    /// How soon a device answers that had only missed a notification.
    private static var answerTime: TimeSpan { .milliseconds(1) }

    let device: any Pollable
    private var position: UInt64?
    private var wait = TimeSpan.zero
    private var due = Instant.distantFuture
    private var reminded: Instant?

    init(_ device: any Pollable) { self.device = device }

    /// Reminds the device if it is time; when it is time again.
    func look(_ debt: DeviceDebt, at now: Instant) -> Instant {
        reminded = nil
        if debt.position != position {
            position = debt.position
            wait = Driver.firstWait
        } else if now < due {
            return due
        } else {
            if debt.isUnseen {
                device.remind()
                reminded = now
            }
            wait = min(.nanoseconds(wait.nanoseconds * 2), Driver.longestWait)
        }
        due = now + wait
        return due
    }

    /// Whether the device has moved at once after it was reminded.
    func hasAnswered(by now: Instant) -> Bool {
        guard let reminded, now - reminded <= Driver.answerTime else { return false }
        return device.debt?.position != position
    }
}
