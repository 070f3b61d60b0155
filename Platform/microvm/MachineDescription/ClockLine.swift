/// Time as a line over the ticks of a counter: so many nanoseconds at one tick, and on from there at
/// a rate.
public struct ClockLine: Equatable, Sendable {
    /// Where the line begins.
    public let ticks: UInt64
    /// What time it is there.
    public let nanoseconds: UInt64
    /// Nanoseconds for a tick, times 2^32.
    public let scale: UInt64

    /// The given line.
    public init(ticks: UInt64, nanoseconds: UInt64, scale: UInt64) {
        self.ticks = ticks
        self.nanoseconds = nanoseconds
        self.scale = scale
    }

    /// The scale at which `ticks` take `nanoseconds`; nil if that is no rate of a clock.
    public static func scale(of ticks: UInt64, taking nanoseconds: UInt64) -> UInt64? {
        guard ticks > nanoseconds >> 32 else { return nil }
        let scale = ticks.dividingFullWidth((nanoseconds >> 32, nanoseconds << 32)).quotient
        return scale > 0 ? scale : nil
    }

    /// How long so many ticks take.
    public static func nanoseconds(in ticks: UInt64, scale: UInt64) -> UInt64 {
        let product = ticks.multipliedFullWidth(by: scale)
        return product.high << 32 | product.low >> 32
    }

    /// The time at a tick; before the line's beginning, the time there.
    public func nanoseconds(at now: UInt64) -> UInt64 {
        guard now > ticks else { return nanoseconds }
        return nanoseconds &+ Self.nanoseconds(in: now - ticks, scale: scale)
    }

    /// The line that leaves this one at a tick, at another rate: time goes on without a step.
    public func turned(at now: UInt64, scale: UInt64) -> ClockLine {
        ClockLine(ticks: max(now, ticks), nanoseconds: nanoseconds(at: now), scale: scale)
    }
}
