import VhostUser

/// A time that passes when a test says so.
final class VirtualTime {
    /// Milliseconds, since long before.
    fileprivate var now: UInt64 = 1_000_000
    /// How many milliseconds pass whenever somebody looks.
    fileprivate let tick: UInt64

    fileprivate init(tick: UInt64) { self.tick = tick }

    fileprivate func look() -> UInt64 {
        now += tick
        return now
    }
}

/// An event loop in a time of its own.
final class World {
    private let time: VirtualTime
    let loop: EventLoop

    /// `tick` milliseconds pass whenever somebody looks at the clock.
    init(tick: UInt64 = 0) throws {
        time = VirtualTime(tick: tick)
        loop = try EventLoop { [time] in time.look() }
    }

    /// Milliseconds, since long before.
    var now: UInt64 { time.now }

    /// Handles what can be handled now.
    func settle() {
        for _ in 0..<12 { try? loop.turn(limit: 0) }
    }

    /// Lets time pass, step by step, and everything happen that is due.
    func advance(milliseconds: Int) {
        for step in stride(from: 0, to: milliseconds, by: 10) {
            time.now += UInt64(min(10, milliseconds - step))
            try? loop.turn(limit: 0)
        }
        settle()
    }

    func advance(seconds: Int) { advance(milliseconds: 1000 * seconds) }
}
