import Testing
import ToroMemory
import ToroTesting

@Suite struct HeapTests {
    /// The frames that are neither tables nor free, and must be none when all is freed.
    private func heldFrames(_ machine: TestMachine) -> Int {
        let statistics = machine.heap.frames.statistics
        return statistics.total - statistics.free - machine.heap.tableFrames
    }

    private func expectEmpty(_ machine: TestMachine) {
        let arena = machine.arena()
        #expect(arena.statistics.liveBytes == 0)
        #expect(arena.statistics.liveObjects == 0)
        arena.arena.trim()
        #expect(arena.statistics.framesHeld == 0)
        #expect(heldFrames(machine) == 0)
        #expect(machine.takeFaults().isEmpty)
    }

    @Test func usableSizesAreTrueAndWasteIsBounded() throws {
        let machine = TestMachine(frames: 4096)
        let arena = machine.arena()
        for size in 0...20_000 {
            let memory = try #require(arena.allocate(size))
            let usable = arena.usableSize(memory)
            #expect(usable >= size)
            #expect(usable <= 128 || size > 3072 || usable * 4 <= size * 5 + 4)
            #expect(usable - size <= max(size / 4 + 16, 4096))
            TestMemory.fill(memory, 0xFF, count: usable)
            arena.deallocate(memory)
        }
        expectEmpty(machine)
    }

    @Test func aPageAlignedPageTakesOneFrame() throws {
        let machine = TestMachine(frames: 512)
        let arena = machine.arena()
        var pages: [UInt] = []
        for _ in 0..<100 {
            let page = try #require(arena.allocate(4096, alignment: 4096))
            #expect(page % 4096 == 0)
            #expect(arena.usableSize(page) == 4096)
            pages.append(page)
        }
        #expect(heldFrames(machine) == 100)
        for page in pages { arena.deallocate(page) }
        expectEmpty(machine)
    }

    @Test func theFirstObjectTakesFewFrames() throws {
        let machine = TestMachine(frames: 64)
        let memory = try #require(machine.arena().allocate(100))
        #expect(machine.heap.frames.statistics.free >= 64 - 4)
        machine.arena().deallocate(memory)
        expectEmpty(machine)
    }

    @Test func alignsToEveryPowerOfTwo() throws {
        let machine = TestMachine(frames: 4096)
        let arena = machine.arena()
        for shift in 0...19 {
            var objects: [UInt] = []
            for size in [1, 24, 100, 300, 700, 1500, 3000, 5000, 10_000] {
                let memory = try #require(arena.allocate(size, alignment: 1 << shift))
                #expect(memory % UInt(max(1 << shift, 16)) == 0)
                #expect(arena.usableSize(memory) >= size)
                objects.append(memory)
            }
            for memory in objects { arena.deallocate(memory) }
        }
        expectEmpty(machine)
    }

    @Test func refusesNonsenseAndImpossibleSizes() {
        let machine = TestMachine(frames: 64)
        let arena = machine.arena()
        for (size, alignment) in [
            (-1, 16), (16, 0), (16, -8), (16, 24), (.max, 16), (.max, 4096), (.max, 1 << 62),
            (1, 1 << 62), (65 * 4096, 16), (Int.max - 4094, 1),
        ] {
            #expect(arena.allocate(size, alignment: alignment) == nil)
        }
        expectEmpty(machine)
    }

    @Test func memoryThatRunsOutComesBack() {
        let machine = TestMachine(frames: 100)
        let arena = machine.arena()
        for size in [16, 100, 1000, 3000, 5000, 6000, 9000] {
            var objects: [UInt] = []
            while let memory = arena.allocate(size) { objects.append(memory) }
            #expect(objects.count * size > 100 * 4096 * 6 / 10)
            #expect(arena.statistics.liveObjects == objects.count)
            // One freed is one to be had.
            if let last = objects.popLast() { arena.deallocate(last) }
            if let again = arena.allocate(size) { objects.append(again) }
            #expect(arena.allocate(size) == nil)
            for memory in objects { arena.deallocate(memory) }
        }
        expectEmpty(machine)
    }

    @Test func anEmptySlabServesAnotherClassWhenMemoryIsShort() {
        let machine = TestMachine(frames: 8)
        let arena = machine.arena()
        var small: [UInt] = []
        while let memory = arena.allocate(64) { small.append(memory) }
        for memory in small { arena.deallocate(memory) }
        // One slab is kept for its class.
        #expect(arena.statistics.framesHeld == 1)
        var pages: [UInt] = []
        while let page = arena.allocate(4096) { pages.append(page) }
        #expect(heldFrames(machine) == 8 - machine.heap.tableFrames)
        for page in pages { arena.deallocate(page) }
        expectEmpty(machine)
    }

    /// Every second object of many sizes is freed, then whole pages must still be found.
    @Test func fragmentationStaysBounded() throws {
        let machine = TestMachine(frames: 4096)
        let arena = machine.arena()
        var random = SeededRandom(seed: 11)
        var objects: [UInt] = []
        for _ in 0..<20_000 {
            objects.append(try #require(arena.allocate(1 + random.below(1000))))
        }
        let before = arena.statistics
        #expect(before.framesHeld * 4096 <= before.liveBytes * 9 / 8 + 32 * 4096)
        for index in stride(from: 0, to: objects.count, by: 2) { arena.deallocate(objects[index]) }
        // The same sizes again fit into the holes.
        for index in stride(from: 0, to: objects.count, by: 2) {
            objects[index] = try #require(arena.allocate(1 + random.below(1000)))
        }
        #expect(arena.statistics.framesHeld <= before.framesHeld * 11 / 10)
        for memory in objects { arena.deallocate(memory) }
        expectEmpty(machine)
    }

    @Test func reallocationKeepsContentsAndStaysWhereItFits() throws {
        let machine = TestMachine(frames: 256)
        let arena = machine.arena()
        var memory = try #require(arena.allocate(100))
        TestMemory.fill(memory, 7, count: 100)
        #expect(arena.reallocate(memory, size: 112) == memory)
        #expect(arena.reallocate(memory, size: 60) == memory)
        memory = try #require(arena.reallocate(memory, size: 100_000))
        #expect(TestMemory.holds(memory, 7, count: 100))
        #expect(arena.reallocate(memory, size: 1 << 30) == nil)
        #expect(arena.usableSize(memory) >= 100_000)
        memory = try #require(arena.reallocate(memory, size: 10))
        #expect(arena.usableSize(memory) == 16)
        #expect(TestMemory.holds(memory, 7, count: 10))
        arena.deallocate(memory)
        expectEmpty(machine)
    }

    @Test(
        arguments: [
            (seed: 1, frames: 4096), (seed: 2, frames: 4096), (seed: 3, frames: 512),
            (seed: 4, frames: 64),
        ] as [(seed: UInt64, frames: Int)])
    func aMillionRandomSteps(seed: UInt64, frames: Int) throws {
        let machine = TestMachine(frames: frames)
        let arena = machine.arena()
        var exerciser = HeapExerciser(
            heap: arena, seed: seed, maximumLiveBytes: frames * 2600)
        for _ in 0..<50 {
            try exerciser.run(steps: 5_000)
            #expect(arena.statistics.liveBytes == exerciser.liveBytes)
            #expect(arena.statistics.liveObjects == exerciser.liveObjects)
        }
        #expect(exerciser.steps == 250_000)
        #expect(frames > 64 || exerciser.refusals > 0)
        #expect(frames < 4096 || exerciser.refusals == 0)
        #expect(arena.statistics.peakBytes >= exerciser.liveBytes)
        try exerciser.finish()
        expectEmpty(machine)
    }
}
