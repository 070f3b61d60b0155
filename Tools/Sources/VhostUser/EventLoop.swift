import CHostShims
import Glibc

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

    private struct Alarm {
        var time: UInt64
        var id: Int
        var action: () -> Void
    }

    private let epoll: Int32
    private var slots: [Slot] = []
    private var free: [Int] = []
    private var alarms: [Alarm] = []
    private var nextAlarm = 0
    private var soon: [() -> Void] = []
    private var isStopped = false
    private var tokens = [UInt64](repeating: 0, count: 64)
    private var events = [UInt32](repeating: 0, count: 64)

    /// How often the loop slept and woke again: none while nothing happens.
    public private(set) var wakeups = 0

    /// An empty loop.
    public init() throws(HostError) {
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

    /// Runs `action` once, after that many milliseconds. Linear in the deadlines there are: for
    /// the few that are no business of a data path.
    @discardableResult
    public func after(milliseconds: Int, _ action: @escaping () -> Void) -> Int {
        nextAlarm += 1
        let time = EventLoop.now() + UInt64(max(milliseconds, 0))
        alarms.append(Alarm(time: time, id: nextAlarm, action: action))
        return nextAlarm
    }

    /// Forgets a deadline.
    public func cancel(_ alarm: Int) { alarms.removeAll { $0.id == alarm } }

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
        if let first = alarms.map(\.time).min() {
            let now = EventLoop.now()
            let left = Int32(clamping: first > now ? first - now : 0)
            timeout = timeout < 0 ? left : min(timeout, left)
        }
        if !soon.isEmpty { timeout = 0 }
        // SAFETY: both arrays have 64 elements.
        let count = unsafe toro_epoll_wait(epoll, &tokens, &events, 64, timeout)
        guard count >= 0 || errno == EINTR else { throw .system("epoll_wait failed") }
        wakeups += 1
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

    private func ring() {
        guard !alarms.isEmpty else { return }
        let now = EventLoop.now()
        let due = alarms.filter { $0.time <= now }
        guard !due.isEmpty else { return }
        alarms.removeAll { $0.time <= now }
        for alarm in due { alarm.action() }
    }

    private static func now() -> UInt64 {
        var time = timespec()
        // SAFETY: the structure outlives the call.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }
}
