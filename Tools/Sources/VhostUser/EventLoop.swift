import CHostShims
import Glibc
import HeapModule

/// What can happen to a descriptor.
public struct Events: OptionSet, Sendable {
    /// The bits of epoll(7).
    public let rawValue: UInt32
    /// Events with those bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// There are bytes, connections or the end of a stream.
    public static let readable = Events(rawValue: UInt32(TORO_READABLE))
    /// There is room for bytes.
    public static let writable = Events(rawValue: UInt32(TORO_WRITABLE))
    /// The peer sends no more.
    public static let finished = Events(rawValue: UInt32(TORO_FINISHED))
    /// The peer is gone, or there is an error; always reported.
    public static let broken = Events(rawValue: UInt32(TORO_BROKEN))
    /// There is an error; always reported.
    public static let error = Events(rawValue: UInt32(TORO_ERROR))
    /// Report changes only.
    public static let edges = Events(rawValue: TORO_EDGES)
}

/// Something that owns a descriptor in an event loop.
public protocol EventSource: AnyObject {
    /// Something happened to the descriptor.
    func handle(_ events: Events)
}

/// Waits for descriptors with epoll(7), and for deadlines. Used by one thread.
public final class EventLoop {
    /// A descriptor's place in the loop.
    public struct Registration: Equatable, Sendable {
        fileprivate var place: Int
        fileprivate var generation: UInt32
        fileprivate var file: Int32
    }

    private struct Slot {
        var source: (any EventSource)?
        var generation: UInt32 = 0
    }

    /// When an alarm is due. Alarms of one time are in the order in which they were set.
    private struct Deadline: Comparable {
        var time: UInt64
        var id: Int

        static func < (left: Deadline, right: Deadline) -> Bool {
            left.time != right.time ? left.time < right.time : left.id < right.id
        }
    }

    private let epoll: Int32
    private let clock: () -> UInt64
    private var slots: [Slot] = []
    private var free: [Int] = []
    /// The deadlines of all alarms, and of some that are cancelled and no longer in `alarms`.
    private var deadlines = Heap<Deadline>()
    private var alarms: [Int: () -> Void] = [:]
    private var nextAlarm = 0
    private var soon: [() -> Void] = []
    private var isStopped = false
    private var tokens = [UInt64](repeating: 0, count: 64)
    private var events = [UInt32](repeating: 0, count: 64)

    /// How many alarms have gone off.
    public private(set) var alarmsRung = 0
    /// How often the loop slept and woke again: none while nothing happens.
    public private(set) var wakeups = 0

    /// An empty loop that lives in the time of `clock`, which is in milliseconds and never goes back.
    /// While a clock other than the system's stands still, `turn` takes a limit: the loop sleeps in
    /// the system's time.
    public init(clock: @escaping () -> UInt64 = EventLoop.monotonic) throws(HostError) {
        self.clock = clock
        now = clock()
        epoll = epoll_create1(Int32(O_CLOEXEC))
        guard epoll >= 0 else { throw .system("cannot make an epoll descriptor") }
    }

    deinit { close(epoll) }

    /// Tells `source` about events of `file` until it is removed. The loop keeps the source alive.
    public func add(
        _ file: Int32, _ events: Events, _ source: any EventSource
    ) throws(HostError) -> Registration {
        let place = free.popLast() ?? slots.count
        if place == slots.count { slots.append(Slot()) }
        slots[place].generation &+= 1
        slots[place].source = source
        let token = UInt64(slots[place].generation) << 32 | UInt64(place)
        guard toro_epoll_add(epoll, file, events.rawValue, token) == 0 else {
            slots[place].source = nil
            free.append(place)
            throw .system("cannot wait for a descriptor")
        }
        return Registration(place: place, generation: slots[place].generation, file: file)
    }

    /// Forgets a descriptor, which is still open. Events that are already known are dropped.
    public func remove(_ registration: Registration) {
        guard slots[registration.place].generation == registration.generation,
            slots[registration.place].source != nil
        else { return }
        _ = epoll_ctl(epoll, EPOLL_CTL_DEL, registration.file, nil)
        slots[registration.place].source = nil
        free.append(registration.place)
    }

    /// When the events at hand were met, in milliseconds since some moment. It stands still while they
    /// are handled: what is compared with it was never later.
    public private(set) var now: UInt64

    /// Runs `action` once, after that many milliseconds. O(log n) in the alarms that are set.
    @discardableResult
    public func after(milliseconds: Int, _ action: @escaping () -> Void) -> Int {
        nextAlarm += 1
        alarms[nextAlarm] = action
        deadlines.insert(Deadline(time: now + UInt64(max(milliseconds, 0)), id: nextAlarm))
        return nextAlarm
    }

    /// Forgets an alarm. O(1) on average: its deadline is dropped when it is met, or when most
    /// deadlines are of cancelled alarms.
    public func cancel(_ alarm: Int) {
        alarms[alarm] = nil
        guard deadlines.count > 64 + 2 * alarms.count else { return }
        deadlines = Heap(deadlines.unordered.filter { alarms[$0.id] != nil })
    }

    /// The first deadline of an alarm that is still set.
    private var firstDeadline: Deadline? {
        while let first = deadlines.min {
            if alarms[first.id] != nil { return first }
            deadlines.removeMin()
        }
        return nil
    }

    /// Runs `action` before the loop sleeps again, after other descriptors had their turn.
    public func next(_ action: @escaping () -> Void) { soon.append(action) }

    /// Makes `run` return.
    public func stop() { isStopped = true }

    /// Handles events until `stop`.
    public func run() throws(HostError) {
        while !isStopped { try turn() }
    }

    /// Waits for events, `limit` milliseconds at most, and handles them.
    public func turn(limit: Int? = nil) throws(HostError) {
        var timeout: Int32 = limit.map { Int32(clamping: $0) } ?? -1
        if let first = firstDeadline?.time {
            let now = clock()
            let left = Int32(clamping: first > now ? first - now : 0)
            timeout = timeout < 0 ? left : min(timeout, left)
        }
        if !soon.isEmpty { timeout = 0 }
        // SAFETY: both arrays have 64 elements.
        let count = unsafe toro_epoll_wait(epoll, &tokens, &events, 64, timeout)
        guard count >= 0 || errno == EINTR else { throw .system("epoll_wait failed") }
        wakeups += 1
        now = clock()
        for index in 0..<Int(max(count, 0)) {
            let slot = slots[Int(tokens[index] & 0xffff_ffff)]
            guard slot.generation == UInt32(tokens[index] >> 32) else { continue }
            slot.source?.handle(Events(rawValue: events[index]))
        }
        let actions = soon
        soon.removeAll()
        for action in actions { action() }
        ring()
    }

    /// Runs the alarms that are due. Those that they set have their turn later.
    private func ring() {
        let last = nextAlarm
        while let first = firstDeadline, first.time <= now, first.id <= last {
            deadlines.removeMin()
            alarmsRung += 1
            alarms.removeValue(forKey: first.id)?()
        }
    }

    /// The system's time since it was started, in milliseconds.
    public static func monotonic() -> UInt64 {
        var time = timespec()
        // SAFETY: the structure outlives the call.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }
}
