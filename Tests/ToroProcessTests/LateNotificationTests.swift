import Testing
import ToroCore
import ToroProcess
import ToroTesting
import ToroVirtioFS
import ToroVsock

/// A core with devices whose notifications a test can lose. Its time is virtual: it goes on while
/// the core halts, up to the deadline or the next event of the test.
@Core private final class TestCore: Processor {
    private(set) var now = Instant(nanoseconds: 0)
    var wallTime: WallTime? { nil }
    var hasJob: Bool { false }
    /// Whether a device's interrupt is pending.
    var isInterrupted = false
    /// Whether the last wait was one for ever.
    private(set) var isIdle = false
    /// The waits that ended because their time was up.
    private(set) var timeouts = 0
    /// What devices do, and when.
    var events: [(at: Instant, action: @Core () -> Void)] = []

    func runJob() -> Bool { false }
    func beginTurn() -> Bool { false }

    func halt(until deadline: Instant?) {
        isIdle = false
        while !isInterrupted {
            let next = events.first?.at ?? .distantFuture
            guard min(next, deadline ?? .distantFuture) < .distantFuture else {
                isIdle = true
                return
            }
            if let deadline, deadline < next {
                now = max(now, deadline)
                timeouts += 1
                return
            }
            now = max(now, next)
            events.removeFirst().action()
        }
        isInterrupted = false
    }

    func after(_ span: TimeSpan, _ action: @escaping @Core () -> Void) {
        events.append((now + span, action))
    }
}

/// A lost notification costs 50 ms, in either direction and whatever the driver; and what is slow
/// costs next to nothing.
@Suite(.timeLimit(.minutes(2))) struct LateNotificationTests {
    @Core private final class Machine {
        let core = TestCore()
        let loop: RunLoop<TestCore>

        init() { loop = RunLoop(core) }

        /// Has the loop drive what a mock device's driver is.
        func take(_ device: MockVirtioDevice) throws {
            loop.add(try #require(device.driver))
            device.onInterrupt = { [core] in core.isInterrupted = true }
        }

        /// Runs tasks and the loop until there is nothing to do but wait for a peer.
        func run() async {
            for _ in 0..<1_000 {
                await HostRunLoop.shared.settle()
                if loop.turn() { continue }
                loop.sleep()
                if core.isIdle { return }
            }
            Issue.record("the loop never rests")
        }
    }

    /// A vsock connection whose guest end is about to send.
    @Core private func connect(
        _ machine: Machine, _ host: MockVsockHost
    ) async throws -> (VsockStream, MockVsockStream) {
        let driver = try MockVirtioBus(host.device).vsock(clock: machine.loop)
        let port = try driver.listen(5)
        let client = try #require(await host.connect(to: 5))
        let stream = try await port.accept()
        try machine.take(host.device)
        await machine.run()
        return (stream, client)
    }

    /// What came of a task that ought to be done: one that waits for ever fails.
    @Core private func now<Value: Sendable>(_ task: Task<Value, Never>) async -> Value {
        task.cancel()
        return await task.value
    }

    @Core private func send(_ stream: VsockStream) -> Task<Bool, Never> {
        Task {
            guard var buffer = try? IOBuffer(capacity: 8) else { return false }
            buffer.append(1)
            return (try? await stream.send(buffer).result.get()) == 1
        }
    }

    @Test @Core func anIdleCoreSetsNoTimer() async throws {
        let (machine, host) = (Machine(), MockVsockHost())
        let (stream, _) = try await connect(machine, host)
        let sending = send(stream)
        await machine.run()
        #expect(await now(sending))
        #expect(machine.core.timeouts == 0 && machine.core.now == Instant(nanoseconds: 0))
        #expect(machine.loop.statistics.lateNotifications == 0)
    }

    @Test @Core func aLostKickOfVsockIsMadeUpFor() async throws {
        let (machine, host) = (Machine(), MockVsockHost())
        let (stream, client) = try await connect(machine, host)
        host.device.lostNotifications = 1
        let sending = send(stream)
        await machine.run()
        #expect(await now(sending))
        #expect(try await client.receive()?.count == 1)
        #expect(machine.core.now <= Instant(nanoseconds: 50_000_000))
        #expect(machine.loop.statistics.lateNotifications == 1)
    }

    /// What QEMU 7.2 made of a fence: the driver reads an old event index and does not notify, the
    /// device reads an old available index and waits.
    @Test @Core func aDeviceThatArmedTooLateIsTold() async throws {
        let (machine, host) = (Machine(), MockVsockHost())
        let (stream, client) = try await connect(machine, host)
        let queue = try #require(host.device.queues[1])
        let kicks = host.device.notifications[1]
        queue.setAvailableEvent(queue.taken &- 1)
        let sending = send(stream)
        await HostRunLoop.shared.settle()
        #expect(host.device.notifications[1] == kicks)
        queue.setAvailableEvent(queue.taken)
        await machine.run()
        #expect(await now(sending))
        #expect(try await client.receive()?.count == 1)
        #expect(machine.core.now <= Instant(nanoseconds: 50_000_000))
        #expect(host.device.notifications[1] == kicks + 1)
        #expect(machine.loop.statistics.lateNotifications == 1)
    }

    /// A send that the device takes after a millisecond, without an interrupt.
    @Core private func sendUnheard(
        _ machine: Machine, _ host: MockVsockHost
    ) async throws -> Task<Bool, Never> {
        let (stream, _) = try await connect(machine, host)
        host.isDeaf = true
        machine.core.after(.milliseconds(1)) {
            host.device.lostInterrupts = 1
            host.isDeaf = false
        }
        return send(stream)
    }

    @Test @Core func aLostInterruptOfVsockIsMadeUpFor() async throws {
        let (machine, host) = (Machine(), MockVsockHost())
        let sending = try await sendUnheard(machine, host)
        await machine.run()
        #expect(await now(sending))
        #expect(machine.core.now <= Instant(nanoseconds: 50_000_000))
        #expect(machine.loop.statistics.lateNotifications == 1)
    }

    /// An interrupt that is under way while the core looks was not lost.
    @Test @Core func anInterruptThatTakesItsTimeIsNotLost() async throws {
        let (machine, host) = (Machine(), MockVsockHost())
        let sending = try await sendUnheard(machine, host)
        machine.core.after(.milliseconds(43)) { machine.core.isInterrupted = true }
        await machine.run()
        #expect(await now(sending))
        #expect(machine.core.now == Instant(nanoseconds: 43_000_000))
        #expect(machine.loop.statistics.lateNotifications == 0)
    }

    /// A share of one file and a read of it that has begun.
    @Core private func read(
        _ machine: Machine, _ server: MockFUSEServer
    ) async throws -> Task<Int, Never> {
        let files = try await MockVirtioBus(server.device).virtioFS(
            tag: "site", clock: machine.loop)
        let file = try await files.open("a")
        try machine.take(server.device)
        await machine.run()
        return Task {
            guard let buffer = try? IOBuffer(capacity: 8) else { return -1 }
            let done = await file.read(into: buffer, at: 0)
            return (try? done.result.get()) ?? -1
        }
    }

    @Core private func server() -> MockFUSEServer {
        let tree = MemoryTree()
        tree.addFile("/a", "text")
        return MockFUSEServer(tree)
    }

    @Test(arguments: [(1, 0), (0, 1)]) @Core
    func lostNotificationsOfVirtioFSAreMadeUpFor(_ lost: (kicks: Int, calls: Int)) async throws {
        let (machine, server) = (Machine(), server())
        let reading = try await read(machine, server)
        server.device.lostNotifications = lost.kicks
        server.isHolding = true
        machine.core.after(.milliseconds(lost.kicks == 0 ? 1 : 26)) {
            server.device.lostInterrupts = lost.calls
            server.release()
        }
        await machine.run()
        #expect(await now(reading) == 4)
        #expect(machine.core.now <= Instant(nanoseconds: 50_000_000))
        #expect(machine.loop.statistics.lateNotifications == 1)
    }

    /// A daemon that has seen the request and takes 5 s is not disturbed, and the core seldom.
    @Test @Core func aSlowDaemonIsLeftInPeace() async throws {
        let (machine, server) = (Machine(), server())
        let reading = try await read(machine, server)
        server.isHolding = true
        let kicks = server.device.notifications[1]
        machine.core.after(.seconds(5)) {
            #expect(server.device.notifications[1] == kicks + 1)
            server.release()
        }
        await machine.run()
        #expect(await now(reading) == 4)
        #expect(machine.core.now == Instant(nanoseconds: 5_000_000_000))
        #expect(machine.core.timeouts <= 8)
        #expect(machine.loop.statistics.lateNotifications == 0)
    }

    /// One that is too busy to look for 5 s is reminded now and then, and has lost nothing.
    @Test @Core func aBusyDaemonIsSeldomReminded() async throws {
        let (machine, server) = (Machine(), server())
        let reading = try await read(machine, server)
        let serve = server.device.onNotify
        server.device.onNotify = nil
        let kicks = server.device.notifications[1]
        machine.core.after(.seconds(5)) {
            #expect((2...9).contains(server.device.notifications[1] - kicks))
            server.device.onNotify = serve
            serve?(1)
        }
        await machine.run()
        #expect(await now(reading) == 4)
        #expect(machine.core.timeouts <= 8)
        #expect(machine.loop.statistics.lateNotifications == 0)
    }

    /// However long it is busy, before its first reminder or between two: it has lost nothing. What it
    /// does within a millisecond of a reminder counts, as nobody can tell whether it would have anyway.
    @Test(arguments: [1, 20, 24, 27, 40, 70, 80, 100, 200, 700, 800, 2_000] as [UInt64]) @Core
    func aDaemonThatIsSlowDoesNotCount(milliseconds: UInt64) async throws {
        let (machine, server) = (Machine(), server())
        let reading = try await read(machine, server)
        let serve = server.device.onNotify
        server.device.onNotify = nil
        machine.core.after(.milliseconds(milliseconds)) {
            server.device.onNotify = serve
            serve?(1)
        }
        await machine.run()
        #expect(await now(reading) == 4)
        #expect(machine.core.now == Instant(nanoseconds: milliseconds * 1_000_000))
        #expect(machine.loop.statistics.lateNotifications == 0)
    }

    /// A core that never halts looks all the same.
    @Test @Core func aBusyCoreLooksAfterItsDevices() async throws {
        let (machine, host) = (Machine(), MockVsockHost())
        let (stream, _) = try await connect(machine, host)
        host.device.lostNotifications = 1
        let sending = send(stream)
        await HostRunLoop.shared.settle()
        for _ in 0..<100 {
            machine.core.after(.milliseconds(1)) { machine.core.isInterrupted = true }
            machine.core.halt(until: nil)
            for _ in 0..<256 { _ = machine.loop.turn() }
            if host.device.notifications[1] > 1, machine.core.isInterrupted { break }
        }
        await machine.run()
        #expect(await now(sending))
        #expect(machine.core.now <= Instant(nanoseconds: 50_000_000))
    }
}
