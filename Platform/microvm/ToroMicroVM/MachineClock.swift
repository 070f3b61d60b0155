#if hasFeature(Embedded)
import CMicroVM
import ToroCore

/// Monotonic time from the processor's time stamp counter, calibrated against the local APIC's
/// timer; and civil time from what the launcher said, or else the real-time clock.
struct MachineClock {
    /// Nanoseconds for a tick, as a fraction of 2^32.
    private let scale: UInt64
    private let zero: UInt64
    /// What civil time was at time-stamp zero of this clock.
    private var epoch: WallTime?

    /// Measures the counter's frequency against the APIC timer, which QEMU and KVM run at 1 GHz;
    /// takes half a millisecond. `zero` is the counter's value that counts as time 0.
    init(zero: UInt64) {
        self.zero = zero
        let span: UInt32 = 500_000
        // Both clocks are read back to back at either end; the tighter pair of three is kept, so
        // that a moment in which the host ran something else does not spoil the measurement.
        LocalAPIC.setTimer(.max)
        let first = MachineClock.sample()
        var last = first
        while first.apic &- last.apic < span { last = MachineClock.sample() }
        LocalAPIC.setTimer(0)
        let ticks = max(last.tsc &- first.tsc, 1)
        let nanoseconds = UInt64(first.apic &- last.apic)
        let wide = nanoseconds.multipliedFullWidth(by: 1 << 32)
        scale = ticks > wide.high ? ticks.dividingFullWidth(wide).quotient : 1 << 32
    }

    private static func sample() -> (tsc: UInt64, apic: UInt32) {
        var best: (tsc: UInt64, apic: UInt32) = (0, 0)
        var width = UInt64.max
        for _ in 0..<3 {
            let before = toro_rdtsc()
            let apic = LocalAPIC.timerCount
            let after = toro_rdtsc()
            if after &- before < width {
                width = after &- before
                best = (before &+ width / 2, apic)
            }
        }
        return best
    }

    /// Time since `zero`.
    var now: Instant {
        let product = (toro_rdtsc() &- zero).multipliedFullWidth(by: scale)
        return Instant(nanoseconds: product.high << 32 | product.low >> 32)
    }

    /// Civil time, if it is known.
    var wallTime: WallTime? {
        guard let epoch else { return nil }
        let (seconds, rest) = now.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let nanoseconds = UInt64(epoch.nanoseconds) + rest
        return WallTime(
            seconds: epoch.seconds &+ Int64(seconds) &+ Int64(nanoseconds / 1_000_000_000),
            nanoseconds: UInt32(nanoseconds % 1_000_000_000))
    }

    /// Says that civil time is `time` at time-stamp zero, or reads the real-time clock if nil.
    mutating func setEpoch(_ time: WallTime?) {
        if let time {
            epoch = time
        } else if let seconds = RealTimeClock.seconds() {
            epoch = WallTime(seconds: seconds - Int64(now.nanoseconds / 1_000_000_000))
        }
    }

    /// Waits by looking at the clock; for the start of other cores only.
    func spin(microseconds: UInt64) {
        let end = now + .microseconds(microseconds)
        while now < end { toro_relax() }
    }
}

/// The real-time clock in CMOS memory (MC146818), taken as UTC.
enum RealTimeClock {
    /// Seconds since 1970, nil on a machine without the clock.
    static func seconds() -> Int64? {
        // Status A reads 0xff where nothing answers; bit 7 says that an update is under way.
        guard read(10) != 0xff else { return nil }
        var patience = 100_000
        while patience > 0, read(10) & 0x80 != 0 {
            toro_relax()
            patience -= 1
        }
        let binary = read(11) & 4 != 0
        func field(_ index: UInt8) -> Int64 {
            let raw = Int64(read(index))
            return binary ? raw : raw >> 4 * 10 + raw & 15
        }
        let (year, month, day) = (2000 + field(9), field(8), field(7))
        guard (1...12).contains(month), (1...31).contains(day) else { return nil }
        // Days from the civil date: years counted from March, 400-year eras.
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let ofEra = shifted - era * 400
        let ofYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let days = era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
        return days * 86_400 + field(4) * 3_600 + field(2) * 60 + field(0)
    }

    private static func read(_ index: UInt8) -> UInt8 {
        toro_out8(0x70, index)
        return toro_in8(0x71)
    }
}
#endif
