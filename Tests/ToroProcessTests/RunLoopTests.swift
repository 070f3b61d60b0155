import Testing
import ToroCore
import ToroProcess

/// A processor that the test plays.
@Core final class FakeProcessor: Processor {
    var now = Instant(nanoseconds: 0)
    var wallTime: WallTime? { nil }
    var jobs: [() -> Void] = []
    var left = 0
    var halts: [Instant?] = []

    var hasJob: Bool { !jobs.isEmpty }

    func runJob() -> Bool {
        guard !jobs.isEmpty else { return false }
        jobs.removeFirst()()
        return true
    }

    func halt(until deadline: Instant?) { halts.append(deadline) }

    func beginTurn() -> Bool {
        guard left > 0 else { return false }
        left -= 1
        return true
    }
}

/// A driver that the test plays.
@Core final class FakeDriver: Pollable {
    var pending = 0
    var isArmed = false
    /// Work that comes between the last poll and `arm`.
    var comesLate = false
    var polls = 0

    func poll() -> Bool {
        polls += 1
        guard pending > 0 else { return false }
        pending -= 1
        return true
    }

    func arm() -> Bool {
        isArmed = true
        return !comesLate
    }

    func disarm() { isArmed = false }

    var debt: DeviceDebt? { nil }
    func remind() {}
}

@Suite struct RunLoopTests {
    @Test @Core func aTurnDoesJobsDriversAndTimers() {
        let processor = FakeProcessor()
        let loop = RunLoop(processor)
        let (driver, log) = (FakeDriver(), Log())
        loop.add(driver)
        driver.pending = 1
        for index in 0..<100 { processor.jobs.append { log.entries.append(index) } }
        let timer = loop.schedule(at: Instant(nanoseconds: 5)) { log.entries.append(1000) }
        _ = loop.schedule(at: Instant(nanoseconds: 7)) { log.entries.append(2000) }
        #expect(loop.turn())
        // The drivers have their turn before all of a hundred jobs are done.
        #expect(log.entries.count == 64 && driver.polls == 1)
        #expect(loop.turn())
        #expect(log.entries.count == 100)
        #expect(!loop.turn())
        processor.now = Instant(nanoseconds: 7)
        loop.cancel(timer)
        #expect(loop.turn())
        #expect(log.entries.last == 2000 && log.entries.count == 101)
        processor.left = 1
        #expect(loop.turn())
        #expect(!loop.turn())
        #expect(loop.statistics.jobs == 100 && loop.statistics.timers == 1)
    }

    @Test @Core func haltsOnlyWhenNothingCame() {
        let processor = FakeProcessor()
        let loop = RunLoop(processor)
        let drivers = [FakeDriver(), FakeDriver()]
        for driver in drivers { loop.add(driver) }
        loop.sleep()
        #expect(processor.halts.count == 1 && processor.halts[0] == nil)
        _ = loop.schedule(at: Instant(nanoseconds: 9)) {}
        loop.sleep()
        #expect(processor.halts.count == 2 && processor.halts[1]?.nanoseconds == 9)
        drivers[1].comesLate = true
        loop.sleep()
        drivers[1].comesLate = false
        processor.jobs = [{}]
        loop.sleep()
        #expect(processor.halts.count == 2)
        #expect(!drivers.contains { $0.isArmed })
    }
}
