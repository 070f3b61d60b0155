#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroCore

/// Keeps the machine's clock at the rate of the first core's APIC timer, which QEMU and KVM derive
/// from the host's monotonic clock. The time stamp counter is the host's, whose rate nobody corrects.
@Core final class ClockKeeper {
    private let clock: MachineClock
    private var measurement: RateMeasurement

    nonisolated init(_ clock: MachineClock) {
        self.clock = clock
        measurement = RateMeasurement(scale: clock.rate)
    }

    /// Waits for an interrupt if the timer is in use for a measurement, or begins to be; it ends the
    /// wait before the deadline. False if nothing has been done.
    func halt(until deadline: Instant?) -> Bool {
        let deadline = deadline ?? .distantFuture
        while true {
            let now = clock.now
            switch measurement.plan(at: now, until: deadline) {
            case .free: return false
            case .goOn: break
            case .begin(let period):
                LocalAPIC.startTimer(period: period)
                measurement.begin(APICTimer.reading(), period: period, at: now)
            case .end:
                let scale = measurement.end(APICTimer.reading(), at: now)
                LocalAPIC.stopPeriodicTimer()
                if let scale { clock.turn(to: scale) }
                continue
            }
            toro_halt()
            return true
        }
    }
}

/// The local APIC's timer as a clock of 1 GHz, beside the time stamp counter.
enum APICTimer {
    /// Both clocks. The tightest of some looks counts: the host may have run something else within
    /// one.
    static func reading() -> ClockReading {
        var best = ClockReading(ticks: 0, count: 0, doubt: .max)
        for _ in 0..<4 {
            let before = toro_rdtsc()
            let count = LocalAPIC.timerCount
            let half = (toro_rdtsc() &- before) / 2
            if half < best.doubt {
                best = ClockReading(ticks: before &+ half, count: count, doubt: half)
            }
        }
        return best
    }

    /// The counter's scale, measured in half a millisecond: some ten millionths off.
    static func measure() -> UInt64 {
        let span: UInt32 = 500_000
        LocalAPIC.setTimer(.max)
        let first = reading()
        var last = first
        while first.count &- last.count < span { last = reading() }
        LocalAPIC.setTimer(0)
        let nanoseconds = UInt64(first.count &- last.count)
        return ClockLine.scale(of: last.ticks &- first.ticks, taking: nanoseconds) ?? 1 << 32
    }
}
#endif
