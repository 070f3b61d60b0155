import MachineDescription
import Testing
import ToroCore
import ToroTesting

/// A core whose counter runs at a rate that nobody knows, with a timer of 1 GHz, in true time. Reading
/// clocks takes time, and now and then the host runs something else meanwhile.
private struct SimulatedCore {
    /// What the core waits for, over and over.
    struct Load {
        /// How far the deadlines are, nil for none; and after how long a device interrupts, nil for
        /// never. Nanoseconds, of which a random part is taken.
        var deadline: UInt64?
        var event: UInt64?
        /// What it does between waits takes so long.
        var work: UInt64
    }

    /// Ticks in 2^32 nanoseconds.
    let frequency: UInt64
    var random: SeededRandom
    /// Whether a reading is one in four times interrupted for up to 5 ms.
    var isBusy = false
    /// How many times longer than usual a look at a clock takes: there are hypervisors within others.
    var slowness: UInt64 = 1
    /// True time in nanoseconds.
    var time: UInt64 = 1_000_000
    var line: ClockLine
    var measurement: RateMeasurement
    var timer: (start: UInt64, period: UInt64)?

    // What is watched.
    var halts = 0
    var worstDelay: UInt64 = 0
    var wentBack = false
    private var last: UInt64 = 0

    /// A counter of `hertz`, believed to be so many millionths faster or slower.
    init(hertz: UInt64, off: Int64, seed: UInt64) {
        frequency = (hertz << 32) / 1_000_000_000
        random = SeededRandom(seed: seed)
        let true32 = ClockLine.scale(of: hertz, taking: 1_000_000_000) ?? 1
        let scale = UInt64(Int64(true32) + Int64(true32) * off / 1_000_000)
        line = ClockLine(ticks: 0, nanoseconds: 0, scale: scale)
        measurement = RateMeasurement(scale: scale)
    }

    var ticks: UInt64 {
        let product = time.multipliedFullWidth(by: frequency)
        return product.high << 32 | product.low >> 32
    }

    mutating func now() -> Instant {
        time += 20
        let time = line.nanoseconds(at: ticks)
        if time < last { wentBack = true }
        last = time
        return Instant(nanoseconds: time)
    }

    /// By how many parts in 10^9 the clock is too fast or too slow.
    var error: Int64 {
        let span: UInt64 = 1 << 40
        let product = span.multipliedFullWidth(by: frequency)
        let taken = ClockLine.nanoseconds(
            in: product.high << 32 | product.low >> 32, scale: line.scale)
        return (Int64(taken) - Int64(span)) * 1_000_000 / Int64(span / 1_000)
    }

    /// The tightest of four looks, as the platform takes it.
    mutating func reading() -> ClockReading {
        var best = ClockReading(ticks: 0, count: 0, doubt: .max)
        for _ in 0..<4 {
            let before = ticks
            time += slowness * UInt64(100 + random.below(400))
            if isBusy, random.below(4) == 0 { time += UInt64(random.below(5_000_000)) }
            let count = UInt32((timer.map { $0.period - (time - $0.start) % ($0.period + 1) }) ?? 0)
            time += slowness * UInt64(100 + random.below(400))
            if isBusy, random.below(4) == 0 { time += UInt64(random.below(5_000_000)) }
            let half = (ticks - before) / 2
            if half < best.doubt {
                best = ClockReading(ticks: before + half, count: count, doubt: half)
            }
        }
        return best
    }

    /// Waits as the platform does; the run loop's share is in `run`.
    mutating func halt(until deadline: UInt64?, event: UInt64) {
        halts += 1
        let start = now()
        let end = deadline.map { Instant(nanoseconds: $0) } ?? .distantFuture
        var wake: UInt64?
        while true {
            let now = now()
            switch measurement.plan(at: now, until: end) {
            case .begin(let period):
                time += 300
                timer = (time, UInt64(period))
                measurement.begin(reading(), period: period, at: now)
            case .goOn: break
            case .end:
                let scale = measurement.end(reading(), at: now)
                timer = nil
                if let scale { line = line.turned(at: ticks, scale: scale) }
                continue
            case .free:
                if deadline != nil { wake = time + (end - now).nanoseconds }
            }
            break
        }
        if let timer {
            let modulus = timer.period + 1
            wake = timer.start + ((time - timer.start) / modulus + 1) * modulus
        }
        time = max(time, min(wake ?? .max, event))
        guard let deadline else { return }
        let late = now().nanoseconds
        if late > deadline {
            // A ten-thousandth for the rate, which is not known, and the readings.
            let allowed = (end - start).nanoseconds / 1_000 + (isBusy ? 40_000_000 : 50_000)
            if late - deadline > allowed { worstDelay = max(worstDelay, late - deadline) }
        }
    }

    /// Runs a loop until this true time.
    mutating func run(_ load: Load, until end: UInt64) {
        while time < end {
            let event = load.event.map { time + UInt64(random.below(Int($0))) } ?? end
            let deadline = load.deadline.map {
                now().nanoseconds + UInt64(random.below(Int($0 / 2))) + $0 / 2
            }
            // Woken for nothing, it finds nothing to do and halts again.
            while time < min(event, end), now().nanoseconds < deadline ?? .max {
                halt(until: deadline, event: min(event, end))
            }
            time += UInt64(random.below(Int(load.work))) + 1
        }
    }
}

@Suite struct RateMeasurementTests {
    /// What guests do with their time.
    private static let loads: [SimulatedCore.Load] = [
        .init(deadline: nil, event: 3_000_000_000, work: 100_000),
        .init(deadline: 60_000_000_000, event: nil, work: 100_000),
        .init(deadline: 60_000_000_000, event: 2_000_000, work: 100_000),
        .init(deadline: 25_000_000, event: 700_000, work: 300_000),
        .init(deadline: 25_000_000, event: 100_000, work: 20_000_000),
        .init(deadline: 10_000_000, event: nil, work: 50_000),
        .init(deadline: 1_200_000_000, event: 1_000_000_000, work: 1_000_000),
    ]

    /// Whatever it waits for and however far off it begins, a core knows the rate to some millionths
    /// after a quarter of a minute; its clock never goes back, and nobody waits longer for the
    /// measurement's sake.
    @Test(arguments: 0..<7, [-90, 26] as [Int64]) func findsTheRate(_ load: Int, _ off: Int64) {
        for (seed, hertz) in [1_000_000_000, 2_112_345_678, 3_899_999_999].enumerated() {
            var core = SimulatedCore(
                hertz: UInt64(hertz), off: off, seed: UInt64(100 * load + seed))
            #expect(abs(core.error - off * 1_000) < 100)
            core.run(Self.loads[load], until: 15_000_000_000)
            #expect(core.measurement.count == 1)
            #expect(abs(core.error) < 3_000, "\(core.error) parts in 10^9, \(hertz) Hz")
            // Once a minute.
            core.run(Self.loads[load], until: 100_000_000_000)
            #expect(core.measurement.count == 2)
            #expect(abs(core.error) < 3_000, "\(core.error) parts in 10^9, \(hertz) Hz")
            #expect(core.worstDelay == 0 && !core.wentBack)
        }
    }

    /// A host that runs other things within readings makes the measurement slower, not wrong.
    @Test(arguments: 0..<7) func isNotMisledByABusyHost(_ load: Int) {
        for seed in 0..<3 as Range<UInt64> {
            var core = SimulatedCore(hertz: 2_112_345_678, off: 26, seed: seed)
            core.isBusy = true
            core.run(Self.loads[load], until: 100_000_000_000)
            #expect(core.measurement.count >= 1)
            #expect(abs(core.error) < 5_000, "\(core.error) parts in 10^9, seed \(seed)")
            #expect(core.worstDelay == 0 && !core.wentBack)
        }
    }

    /// Where a look takes long and no wait is long, many short spans are added up: what each may be off
    /// counts, and it takes more of them.
    @Test func poorReadingsTakeLonger() {
        for seed in 0..<5 as Range<UInt64> {
            var core = SimulatedCore(hertz: 2_112_345_678, off: 26, seed: seed)
            core.slowness = 4
            core.run(Self.loads[5], until: 3_000_000_000)
            #expect(core.measurement.count == 0, "\(core.error)")
            core.run(Self.loads[5], until: 600_000_000_000)
            #expect(core.measurement.count >= 1)
            #expect(abs(core.error) < 3_000, "\(core.error) parts in 10^9, seed \(seed)")
        }
    }

    /// A core that sleeps for good is woken once for the measurement, and once more a minute later if
    /// something else wakes it.
    @Test func wakesNoSleeper() {
        var core = SimulatedCore(hertz: 2_000_000_000, off: 20, seed: 1)
        let hour: UInt64 = 3_600_000_000_000
        core.run(.init(deadline: nil, event: nil, work: 1_000), until: hour)
        #expect(core.halts == 2)
        core.run(.init(deadline: nil, event: nil, work: 1_000), until: 2 * hour)
        #expect(core.halts == 4)
        #expect(core.measurement.count == 2)
    }

    /// A rate that is far from the one before counts when it is measured twice.
    @Test func aJumpIsNotBelievedAtOnce() {
        var core = SimulatedCore(hertz: 2_000_000_000, off: 900, seed: 1)
        core.run(Self.loads[0], until: 3_500_000_000)
        core.run(Self.loads[3], until: 30_000_000_000)
        #expect(core.measurement.count == 1)
        #expect(abs(core.error) < 2_000)
    }

    @Test func aLineTurnsWithoutAStep() {
        let line = ClockLine(ticks: 1_000, nanoseconds: 500, scale: 1 << 31)
        #expect(line.nanoseconds(at: 3_000) == 1_500)
        #expect(line.nanoseconds(at: 10) == 500)
        let turned = line.turned(at: 3_000, scale: 1 << 32)
        #expect(turned.nanoseconds(at: 3_000) == 1_500)
        #expect(turned.nanoseconds(at: 3_010) == 1_510)
        // 58 years at 5 GHz.
        let long = ClockLine(ticks: 0, nanoseconds: 0, scale: 858_993_459)
        #expect(long.nanoseconds(at: 9_150_000_000_000_000_000) / 1_000_000_000 == 1_829_999_999)
        #expect(ClockLine.scale(of: 0, taking: 5) == nil)
        #expect(ClockLine.scale(of: 1, taking: .max) == nil)
        #expect(ClockLine.scale(of: 2_000, taking: 1_000) == 1 << 31)
    }

    /// A timer that counts nonsense changes nothing, and traps nothing.
    @Test(arguments: FuzzSeeds.all(0...199)) func nonsenseIsNotBelieved(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { count(seed) }
    }

    private func count(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var measurement = RateMeasurement(scale: 1 << 31)
        var now: UInt64 = 0
        for _ in 0..<100 {
            now += UInt64(random.below(3_000_000_000))
            let reading = ClockReading(
                ticks: random.next() >> UInt64(random.below(64)),
                count: UInt32(truncatingIfNeeded: random.next()),
                doubt: random.next() >> UInt64(random.below(64)))
            switch measurement.plan(
                at: Instant(nanoseconds: now),
                until: Instant(nanoseconds: now + UInt64(random.below(9_000_000_000))))
            {
            case .begin(let period):
                measurement.begin(reading, period: period, at: Instant(nanoseconds: now))
            case .end: _ = measurement.end(reading, at: Instant(nanoseconds: now))
            case .goOn, .free: break
            }
        }
        #expect(measurement.scale > 1 << 30 && measurement.scale < 1 << 32)
    }
}
