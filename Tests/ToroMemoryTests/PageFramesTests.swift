import Testing
import ToroCore
import ToroMemory
import ToroTesting

@Suite struct PageFramesTests {
    @Test func takesTheLowestFittingRunAndJoinsNeighbours() throws {
        let machine = TestMachine(frames: 16)
        let frames = machine.frames
        let a = try frames.allocate(4)
        let b = try frames.allocate(4)
        let c = try frames.allocate(4)
        #expect(a == machine.address(0))
        #expect(b == machine.address(4))
        #expect(frames.statistics == .init(total: 16, free: 4, largestRun: 4))
        frames.deallocate(a, count: 4)
        frames.deallocate(c, count: 4)
        #expect(frames.statistics == .init(total: 16, free: 12, largestRun: 8))
        #expect(try frames.allocate(5) == machine.address(8))
        frames.deallocate(b, count: 4)
        #expect(frames.statistics.largestRun == 8)
        frames.deallocate(machine.address(8), count: 5)
        #expect(frames.statistics == .init(total: 16, free: 16, largestRun: 16))
        #expect(machine.takeFaults().isEmpty)
    }

    @Test func alignsAndUsesAnExactlyAlignedRun() throws {
        let machine = TestMachine(frames: 1024)
        let frames = machine.frames
        let big = try frames.allocate(3, alignment: 1 << 20)
        #expect(big % (1 << 20) == 0)
        frames.deallocate(big, count: 3)
        // Leave only one run that is aligned to 64 KiB and exactly as long.
        let all = try frames.allocate(1024)
        let hole = (machine.address(0) + 0xFFFF) & ~0xFFFF
        let first = Int((hole - machine.address(0)) / 4096)
        frames.deallocate(machine.address(first), count: 16)
        #expect(throws: OutOfMemory(requested: 17 * 4096)) {
            _ = try frames.allocate(17, alignment: 65_536)
        }
        #expect(try frames.allocate(16, alignment: 65_536) == hole)
        frames.deallocate(all, count: 1024)
        #expect(frames.statistics.free == 1024)
    }

    @Test func refusesNonsense() throws {
        let machine = TestMachine(frames: 8)
        let frames = machine.frames
        #expect(throws: OutOfMemory(requested: 0)) { _ = try frames.allocate(0) }
        #expect(throws: OutOfMemory.self) { _ = try frames.allocate(-1) }
        #expect(throws: OutOfMemory(requested: .max)) { _ = try frames.allocate(.max) }
        #expect(throws: OutOfMemory.self) { _ = try frames.allocate(1, alignment: 3 << 12) }
        #expect(throws: OutOfMemory.self) { _ = try frames.allocate(1, alignment: 1 << 62) }
        #expect(throws: OutOfMemory.self) { _ = try frames.allocate(.max, alignment: 1 << 62) }
        #expect(throws: OutOfMemory(requested: 9 * 4096)) { _ = try frames.allocate(9) }
        // What is free already, or overlaps it, is no new RAM.
        #expect(!frames.add(base: machine.address(7), size: 8192))
        #expect(!frames.add(base: machine.address(2), size: 4096))
        #expect(!frames.add(base: machine.address(9) + 1, size: 8190))
        #expect(!frames.add(base: .max - 100, size: 100))
        #expect(!frames.add(base: 0, size: 4096))
        #expect(frames.statistics == .init(total: 8, free: 8, largestRun: 8))
    }

    @Test func detectsFramesFreedTwiceOrNeverOwned() throws {
        let machine = TestMachine(frames: 8)
        let frames = machine.frames
        let a = try frames.allocate(4)
        frames.deallocate(a, count: 4)
        frames.deallocate(a, count: 4)
        frames.deallocate(a + 8192, count: 1)
        frames.deallocate(a + 1, count: 1)
        frames.deallocate(a, count: 0)
        frames.deallocate(a + 4096, count: 9)
        #expect(machine.takeFaults() == Array(repeating: .badFrames, count: 5))
        #expect(frames.statistics.free == 8)
        // More than there is above, and so much more that its end wraps around.
        let all = try frames.allocate(8)
        for count in [9, 1 << 40, Int.max] { frames.deallocate(all, count: count) }
        #expect(machine.takeFaults() == Array(repeating: .badFrames, count: 3))
        #expect(frames.statistics.free == 0)
        frames.deallocate(all, count: 8)
        #expect(frames.statistics == .init(total: 8, free: 8, largestRun: 8))
    }

    @Test func detectsAnOverwrittenFreeRun() throws {
        let machine = TestMachine(frames: 8)
        TestMemory.store(0, at: machine.address(0) + 32)
        #expect(throws: OutOfMemory.self) { _ = try machine.frames.allocate(1) }
        #expect(machine.takeFaults() == [.overwrittenFreeMemory])
    }

    @Test func worksWithVeryLittleMemory() throws {
        let machine = TestMachine(frames: 1)
        let only = try machine.frames.allocate(1)
        #expect(throws: OutOfMemory.self) { _ = try machine.frames.allocate(1) }
        machine.frames.deallocate(only, count: 1)
        #expect(machine.frames.statistics == .init(total: 1, free: 1, largestRun: 1))
    }

    @Test func regionsMayComeInAnyOrderAndTouch() throws {
        let machine = TestMachine(frames: 64, add: false)
        let frames = machine.frames
        for first in [32, 0, 48, 16] {
            #expect(
                frames.add(base: machine.address(first), size: 16 * 4096))
        }
        #expect(frames.statistics == .init(total: 64, free: 64, largestRun: 64))
    }

    /// Takes and gives runs at random; a bitmap knows what must be free.
    @Test(arguments: FuzzSeeds.all(1...3)) func agreesWithABitmap(_ first: UInt64) throws {
        for seed in FuzzSeeds(from: first) { try compare(seed) }
    }

    private func compare(_ seed: UInt64) throws {
        let count = 300
        let machine = TestMachine(frames: count)
        let frames = machine.frames
        var random = SeededRandom(seed: seed)
        var used = Array(repeating: false, count: count)
        var runs: [(first: Int, count: Int)] = []
        for _ in 0..<20_000 {
            if random.below(2) == 0 {
                let wanted = 1 + random.below(12)
                let alignment = 1 << random.below(5)
                let lowest = lowestFit(used, wanted, alignment, base: machine.address(0))
                guard let memory = try? frames.allocate(wanted, alignment: alignment * 4096) else {
                    #expect(lowest == nil)
                    continue
                }
                let first = Int((memory - machine.address(0)) / 4096)
                #expect(memory % UInt(alignment * 4096) == 0)
                if alignment == 1 { #expect(first == lowest) }
                for frame in first..<first + wanted {
                    #expect(!used[frame])
                    used[frame] = true
                }
                // The contents are ours to write.
                TestMemory.fill(memory, 0xA5, count: wanted * 4096)
                runs.append((first, wanted))
            } else if !runs.isEmpty {
                let index = random.below(runs.count)
                var run = runs[index]
                // Sometimes only the upper part.
                let part = 1 + random.below(run.count)
                run.first += run.count - part
                runs[index].count -= part
                if runs[index].count == 0 { runs.remove(at: index) }
                frames.deallocate(machine.address(run.first), count: part)
                for frame in run.first..<run.first + part { used[frame] = false }
            }
            let statistics = frames.statistics
            #expect(statistics.free == used.count { !$0 })
            #expect(statistics.largestRun == used.split(separator: true).map(\.count).max() ?? 0)
        }
        for run in runs { frames.deallocate(machine.address(run.first), count: run.count) }
        #expect(frames.statistics == .init(total: count, free: count, largestRun: count))
        #expect(machine.takeFaults().isEmpty)
    }

    private func lowestFit(_ used: [Bool], _ count: Int, _ alignment: Int, base: UInt) -> Int? {
        (0..<max(used.count - count + 1, 0)).first { first in
            (base / 4096 + UInt(first)) % UInt(alignment) == 0
                && !used[first..<first + count].contains(true)
        }
    }
}
