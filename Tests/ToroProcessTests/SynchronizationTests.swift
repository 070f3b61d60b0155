import Testing
import ToroCore
import ToroProcess
import ToroTesting

@Suite struct SynchronizationTests {
    private func settle() async { await HostRunLoop.shared.settle() }

    @Test @Core func aSemaphoreServesInOrder() async throws {
        let semaphore = Semaphore(permits: 1)
        let log = Log()
        try await semaphore.acquire()
        let tasks = (0..<3).map { index in
            Task {
                try await semaphore.acquire()
                log.entries.append(index)
            }
        }
        await settle()
        #expect(semaphore.waiting == 3)
        tasks[1].cancel()
        await settle()
        #expect(semaphore.waiting == 2)
        for _ in 0..<2 { semaphore.release() }
        await settle()
        #expect(log.entries == [0, 2])
        #expect(semaphore.available == 0)
        semaphore.release()
        #expect(semaphore.available == 1)
    }

    @Test @Core func aChannelHoldsSendersBackAndEnds() async throws {
        let channel = Channel<Int>(capacity: 2)
        let sender = Task {
            for number in 0..<5 { try await channel.send(number) }
        }
        await settle()
        #expect(channel.count == 2)
        var received: [Int] = []
        for _ in 0..<5 { received.append(try #require(try await channel.receive())) }
        #expect(received == [0, 1, 2, 3, 4])
        try await sender.value
        channel.finish()
        channel.finish()
        #expect(try await channel.receive() == nil)
        #expect(try await channel.receive() == nil)
        await #expect(throws: ChannelError.finished) { try await channel.send(9) }
    }

    @Test @Core func aCancelledReceiverTakesNothing() async throws {
        let channel = Channel<Int>(capacity: 1)
        let receiver = Task { try await channel.receive() }
        await settle()
        receiver.cancel()
        await settle()
        try await channel.send(3)
        #expect(channel.count == 1)
        await #expect(throws: Cancelled.self) { try await receiver.value }
        #expect(try await channel.receive() == 3)
    }

    @Test @Core func sleepersWakeInOrderOfTheirDeadlines() async throws {
        let clock = VirtualClock()
        let log = Log()
        for span in [30, 10, 20] as [UInt64] {
            Task {
                try await sleep(for: .milliseconds(span), clock: clock)
                log.entries.append(Int(span))
            }
        }
        await settle()
        await clock.advance(by: .milliseconds(9))
        #expect(log.entries == [])
        await clock.advance(by: .milliseconds(50))
        #expect(log.entries == [10, 20, 30])
    }

    @Test @Core func aCancelledSleepLeavesNoTimer() async throws {
        let clock = VirtualClock()
        let sleeper = Task { try await sleep(for: .seconds(1), clock: clock) }
        await settle()
        #expect(clock.pendingTimers == 1)
        sleeper.cancel()
        await #expect(throws: Cancelled.self) { try await sleeper.value }
        #expect(clock.pendingTimers == 0)
    }

    @Test @Core func aTimeoutCancelsItsBody() async throws {
        let clock = VirtualClock()
        let log = Log()
        let task = Task {
            do throws(TimeoutError<Cancelled>) {
                try await withTimeout(.seconds(1), clock: clock) { () throws(Cancelled) in
                    try await sleep(for: .seconds(10), clock: clock)
                }
                log.entries.append(0)
            } catch .timedOut {
                log.entries.append(1)
            } catch {
                log.entries.append(2)
            }
        }
        await settle()
        await clock.advance(by: .seconds(1))
        await task.value
        #expect(log.entries == [1])
        #expect(clock.pendingTimers == 0)
    }

    @Test @Core func whatEndsInTimeIsNotCancelled() async throws {
        let clock = VirtualClock()
        let task = Task {
            try await withTimeout(.seconds(2), clock: clock) { () throws(Cancelled) -> Int in
                try await sleep(for: .seconds(1), clock: clock)
                return 7
            }
        }
        await settle()
        await clock.advance(by: .seconds(1))
        #expect(try await task.value == 7)
        #expect(clock.pendingTimers == 0)
    }
}

@Suite struct ForeignCancellationTests {
    /// A process has other threads than the run loop's, and any of them may cancel a task.
    @Test func anyThreadMayCancel() async {
        let task = Task { @Core in
            let waiter = Waiter<Bool>()
            return await waiter.wait(cancelled: false)
        }
        await Task.detached { task.cancel() }.value
        #expect(await task.value == false)
    }
}
