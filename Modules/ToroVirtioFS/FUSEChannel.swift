import ToroCore
import ToroVirtio

/// A request to the host and the place for its reply, from making it to the task that waits.
@Core final class FUSERequest {
    /// The request's bytes, and behind them the room for the reply's fixed part.
    var message: IOBuffer?
    /// Where the bytes of a file or directory go.
    var data: IOBuffer?
    /// How many of them the request asks for. The device is offered no more room than that: a host
    /// may take all it is offered for what was asked.
    var dataSize = 0
    /// Whether the device may write to this memory for ever.
    var isLost = false
    let unique: UInt64
    let requestLength: Int
    let replyCapacity: Int
    /// Where the task waits; true once there is an outcome.
    let waiter = Waiter<Bool>()
    private(set) var outcome = FUSEOutcome.refused(.deviceFailed)
    private(set) var isFinished = false
    /// Takes the outcome when the task does not wait any more.
    var heir: (@Core () -> Void)?

    init(_ message: consuming FUSEMessage) {
        requestLength = message.count
        unique = message.unique
        replyCapacity = message.replyCapacity
        self.message = message.take()
    }

    /// Ends the request.
    func finish(_ outcome: FUSEOutcome) {
        self.outcome = outcome
        isFinished = true
        waiter.resume(true)
        guard let heir else { return }
        self.heir = nil
        heir()
    }
}

/// How a request ended.
enum FUSEOutcome: Sendable {
    /// The reply's bytes: the fixed part behind its header, and the data.
    case reply(fixed: Int, data: Int)
    /// The host refused.
    case refused(FileError)
}

/// The driver of a virtio-fs device (VIRTIO 1.2, section 5.11): requests out, replies in, as many
/// at a time as the queue has room for.
@Core final class FUSEChannel: Pollable {
    private enum Index {
        static var highPriority: UInt16 { 0 }
        static var request: UInt16 { 1 }
    }

    private let transport: any VirtioTransport
    private var queue: Virtqueue
    private var forgets: Virtqueue
    private var pending: ObjectTable<FUSERequest>
    private var forgetting: ObjectTable<FUSERequest>
    private var backlog = ObjectList<FUSERequest>()
    private var forgetBacklog = ObjectList<FUSERequest>()
    private var nextUnique: UInt64 = 2
    private(set) var isBroken = false

    /// Requests in flight, and the most there were at a time.
    private(set) var inFlight = 0
    private(set) var peakInFlight = 0

    /// Agrees with the device and sets its two queues up.
    @export(interface) @_optimize(size)
    init(_ transport: any VirtioTransport) throws(VirtioError) {
        self.transport = transport
        var setup = try VirtioSetup(
            transport, required: .version1, optional: [.indirectDescriptors, .eventIndex])
        forgets = try setup.makeQueue(Index.highPriority, size: 16)
        queue = try setup.makeQueue(Index.request, size: 64)
        pending = ObjectTable(count: Int(queue.size))
        forgetting = ObjectTable(count: Int(forgets.size))
        setup.finish()
    }

    /// A buffer that begins with a request's header; `arguments` bytes follow, then room for the
    /// reply.
    func message(
        _ opcode: FUSEOpcode, node: UInt64, arguments: Int, reply: Int
    ) throws(FileError) -> FUSEMessage {
        let unique = nextUnique
        nextUnique &+= 2
        do throws(OutOfMemory) {
            return try FUSEMessage(
                opcode, node: node, unique: unique, arguments: arguments, reply: reply)
        } catch {
            throw .outOfMemory
        }
    }

    /// Sends a request; its waiter is resumed at its end.
    func send(_ request: FUSERequest) {
        guard !isBroken else { return request.finish(.refused(.deviceFailed)) }
        inFlight += 1
        peakInFlight = max(peakInFlight, inFlight)
        if !backlog.isEmpty || !start(request) { backlog.append(request) }
        notify()
    }

    /// Takes back a request that waits for room in the queue; false if the device has it.
    func withdraw(_ request: FUSERequest) -> Bool {
        guard backlog.remove(request) else { return false }
        inFlight -= 1
        return true
    }

    /// Sends a request that has no reply.
    func post(_ request: FUSERequest) {
        guard !isBroken else { return }
        forgetBacklog.append(request)
        postBacklog()
    }

    private func postBacklog() {
        var posted = 0
        while posted < forgetBacklog.count, startPost(forgetBacklog[posted]) { posted += 1 }
        forgetBacklog.removeFirst(posted)
        if forgets.publish() { transport.notify(queue: Index.highPriority) }
    }

    private func startPost(_ request: FUSERequest) -> Bool {
        guard let message = request.message.take() else { return true }
        let segments: InlineArray<1, VirtqueueSegment> = [
            .readable(message.deviceAddress, message.count)
        ]
        request.message = consume message
        guard let slot = forgets.add(segments.span) else { return false }
        forgetting[Int(slot)] = request
        return true
    }

    private func notify() {
        if queue.publish() { transport.notify(queue: Index.request) }
    }

    /// Puts a request into the queue; false if there is no room.
    private func start(_ request: FUSERequest) -> Bool {
        guard let message = request.message.take() else { return true }
        let head = VirtqueueSegment.readable(message.deviceAddress, request.requestLength)
        let reply = VirtqueueSegment.writable(
            message.freeDeviceAddress, FUSE.replyHeaderSize + request.replyCapacity)
        request.message = consume message
        let slot: UInt16?
        if let data = request.data.take() {
            let segments: InlineArray<3, VirtqueueSegment> = [
                head, reply,
                .writable(data.freeDeviceAddress, min(request.dataSize, data.freeCapacity)),
            ]
            request.data = consume data
            slot = queue.add(segments.span)
        } else {
            let segments: InlineArray<2, VirtqueueSegment> = [head, reply]
            slot = queue.add(segments.span)
        }
        guard let slot else { return false }
        pending[Int(slot)] = request
        return true
    }

    // MARK: Pollable

    @export(interface)
    func poll() -> Bool {
        guard !isBroken else { return false }
        var worked = false
        do throws(VirtqueueError) {
            while let (slot, _) = try forgets.popUsed() {
                forgetting[Int(slot)] = nil
                worked = true
            }
            if !forgetBacklog.isEmpty { postBacklog() }
            while let (slot, written) = try queue.popUsed() {
                worked = true
                guard let request = pending[Int(slot)] else { continue }
                pending[Int(slot)] = nil
                finish(request, written)
            }
        } catch {
            fail()
            return true
        }
        guard worked, !backlog.isEmpty else { return worked }
        var started = 0
        while started < backlog.count, start(backlog[started]) { started += 1 }
        backlog.removeFirst(started)
        notify()
        return true
    }

    @export(interface)
    func arm() -> Bool {
        // Nothing is looked at any more: what the device says must not keep the core awake.
        if isBroken { return true }
        let first = queue.arm()
        return forgets.arm() && first
    }

    @export(interface)
    func disarm() {
        queue.disarm()
        forgets.disarm()
    }

    var debt: DeviceDebt? { isBroken ? nil : DeviceDebt.joined(queue.debt, forgets.debt) }

    @export(interface)
    func remind() {
        if queue.debt?.isUnseen == true { transport.notify(queue: Index.request) }
        if forgets.debt?.isUnseen == true { transport.notify(queue: Index.highPriority) }
    }

    /// Checks a reply against its request and wakes the task.
    private func finish(_ request: FUSERequest, _ written: Int) {
        inFlight -= 1
        guard let outcome = outcome(of: request, written) else {
            request.finish(.refused(.deviceFailed))
            fail()
            return
        }
        request.finish(outcome)
    }

    private func outcome(of request: FUSERequest, _ written: Int) -> FUSEOutcome? {
        guard var message = request.message.take() else { return nil }
        message.removeFirst(message.count)
        message.didFill(min(written, FUSE.replyHeaderSize + request.replyCapacity))
        let header = FUSEReplyHeader(parsing: message.bytes)
        message.removeFirst(FUSE.replyHeaderSize)
        let fixed = message.count
        request.message = consume message
        guard let header, header.unique == request.unique, Int(header.length) == written,
            header.error <= 0, header.error > -4096
        else { return nil }
        if header.error < 0 { return .refused(FileError(errno: -header.error)) }
        return .reply(
            fixed: fixed, data: max(written - FUSE.replyHeaderSize - request.replyCapacity, 0))
    }

    /// The device broke its protocol: it is reset, every request ends, and there are no more.
    @_optimize(size) @inline(never) private func fail() {
        guard !isBroken else { return }
        isBroken = true
        inFlight = 0
        let isReset = transport.reset()
        for slot in 0..<pending.count {
            guard let request = pending[slot] else { continue }
            request.isLost = !isReset
            request.finish(.refused(.deviceFailed))
            if isReset { pending[slot] = nil }
        }
        if !isReset { LostMemory.keep(self) }
        forgetBacklog.removeAll()
        while !backlog.isEmpty { backlog.removeLast().finish(.refused(.deviceFailed)) }
    }
}
