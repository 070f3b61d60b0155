import Testing
import ToroMemory
import ToroTesting

/// Misuse that must be noticed, and must leave the heap whole.
@Suite struct HeapFaultTests {
    @Test func freeingTwiceIsNoticed() throws {
        let machine = TestMachine(frames: 64)
        let arena = machine.arena()
        for size in [16, 48, 1000, 3000, 4096, 50_000] {
            let other = try #require(arena.allocate(size))
            let memory = try #require(arena.allocate(size))
            arena.deallocate(memory)
            arena.deallocate(memory)
            let first = machine.takeFaults()
            #expect(first == [.doubleFree] || first == [.wildPointer])
            // Also when the whole slab is free again.
            arena.deallocate(other)
            arena.deallocate(other)
            #expect(machine.takeFaults().count == 1)
        }
        #expect(arena.statistics.liveBytes == 0)
    }

    @Test func whatWasNeverAllocatedCannotBeFreed() throws {
        let machine = TestMachine(frames: 64)
        let arena = machine.arena()
        let object = try #require(arena.allocate(48))
        let large = try #require(arena.allocate(3 * 4096))
        arena.deallocate(object + 16)
        arena.deallocate(object + 1)
        arena.deallocate(large + 4096)
        arena.deallocate(large + 16)
        arena.deallocate(machine.address(63))
        #expect(machine.takeFaults() == Array(repeating: .wildPointer, count: 5))
        arena.deallocate(object + 48)
        #expect(machine.takeFaults() == [.doubleFree])
        // Free memory, memory above the RAM, and memory below it.
        for stranger in [machine.address(63), machine.address(1 << 20), 4096] {
            #expect(arena.usableSize(stranger) == 0)
        }
        arena.deallocate(object)
        arena.deallocate(large)
        #expect(machine.takeFaults().isEmpty)
        #expect(arena.statistics.liveObjects == 0)
    }

    @Test func writingToAFreeObjectIsNoticed() throws {
        let machine = TestMachine(frames: 64)
        let arena = machine.arena()
        let kept = try #require(arena.allocate(32))
        let freed = try #require(arena.allocate(32))
        arena.deallocate(freed)
        TestMemory.fill(freed, 0x41, count: 32)
        #expect(arena.allocate(32) == nil)
        #expect(machine.takeFaults().first == .overwrittenFreeMemory)
        arena.deallocate(kept)
    }
}
