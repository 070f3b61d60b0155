#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import Synchronization
import ToroCore

/// Monotonic time from the processor's time stamp counter, and civil time from what the launcher
/// said, or else the real-time clock. One for all cores; see ``ClockKeeper`` for its rate.
final class MachineClock: Sendable {
    // The line that time follows. The first core alone changes it; others see that they have read a
    // part of two lines by the version, which is odd meanwhile.
    private let version = Atomic<UInt64>(0)
    private let ticks: Atomic<UInt64>
    private let nanoseconds = Atomic<UInt64>(0)
    private let scale: Atomic<UInt64>
    /// What civil time is at time zero of this clock.
    private let epoch: WallTime?

    /// A clock that is at zero when the counter is at `zero`, and whose rate is measured in half a
    /// millisecond. Civil time is `epoch` then; if that is nil it is asked of the real-time clock.
    init(zero: UInt64, epoch: WallTime?) {
        let scale = APICTimer.measure()
        ticks = Atomic(zero)
        self.scale = Atomic(scale)
        if let epoch {
            self.epoch = epoch
        } else if let seconds = RealTimeClock.seconds() {
            let line = ClockLine(ticks: zero, nanoseconds: 0, scale: scale)
            let age = line.nanoseconds(at: toro_rdtsc()) / 1_000_000_000
            self.epoch = WallTime(seconds: seconds - Int64(age))
        } else {
            self.epoch = nil
        }
    }

    /// Time since zero.
    var now: Instant {
        while true {
            let before = version.load(ordering: .acquiring)
            let time = line.nanoseconds(at: toro_rdtsc())
            if before & 1 == 0, version.load(ordering: .relaxed) == before {
                return Instant(nanoseconds: time)
            }
        }
    }

    private var line: ClockLine {
        ClockLine(
            ticks: ticks.load(ordering: .acquiring),
            nanoseconds: nanoseconds.load(ordering: .acquiring),
            scale: scale.load(ordering: .acquiring))
    }

    /// Goes on at another rate, without a step. To be called by the first core.
    func turn(to scale: UInt64) {
        let next = line.turned(at: toro_rdtsc(), scale: scale)
        let count = version.load(ordering: .relaxed)
        version.store(count &+ 1, ordering: .sequentiallyConsistent)
        ticks.store(next.ticks, ordering: .releasing)
        nanoseconds.store(next.nanoseconds, ordering: .releasing)
        self.scale.store(next.scale, ordering: .releasing)
        version.store(count &+ 2, ordering: .releasing)
    }

    /// Nanoseconds for a tick, times 2^32.
    var rate: UInt64 { scale.load(ordering: .relaxed) }

    /// Civil time, if it is known.
    var wallTime: WallTime? {
        guard let epoch else { return nil }
        let (seconds, rest) = now.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let nanoseconds = UInt64(epoch.nanoseconds) + rest
        return WallTime(
            seconds: epoch.seconds &+ Int64(seconds) &+ Int64(nanoseconds / 1_000_000_000),
            nanoseconds: UInt32(nanoseconds % 1_000_000_000))
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
