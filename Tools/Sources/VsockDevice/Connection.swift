import Glibc
import VhostUser

/// A client's socket joined to a port of a guest.
///
/// The guest's side ends with RST, or with SHUTDOWN both ways; what the guest sent before is
/// written out first, for up to `drainTime`.
final class Connection: EventSource {
    /// How long a client may take to fetch the last bytes once its guest is done, in milliseconds.
    static let drainTime = 30_000

    /// Packets that are due.
    struct Owed: OptionSet {
        let rawValue: UInt8
        static let request = Owed(rawValue: 1)
        static let creditUpdate = Owed(rawValue: 2)
        static let shutdown = Owed(rawValue: 4)
        static let reset = Owed(rawValue: 8)
        static let creditRequest = Owed(rawValue: 16)
    }

    let hostPort: UInt32
    let guestPort: UInt32
    private let file: Int32
    private unowned let guest: Guest
    private var registration: EventLoop.Registration?
    var credit: Credit
    var owed: Owed = .request
    /// Whether the guest's receive queue knows that something is to be sent.
    var isQueued = false

    private(set) var isEstablished = false
    private var isReadable = false
    private var clientFinished = false
    private var guestFinished = false
    private var guestIsDeaf = false
    private var askedForCredit = false
    /// The guest is done with the connection: only `pending` is left.
    private var isDraining = false
    private var drainAlarm: Int?
    /// Bytes of the guest that the socket had no room for: at most the credit's allocation.
    private var pending = ByteQueue()

    init(
        _ file: Int32, _ guest: Guest, hostPort: UInt32, guestPort: UInt32, allocation: UInt32
    ) throws(HostError) {
        self.file = file
        self.guest = guest
        self.hostPort = hostPort
        self.guestPort = guestPort
        credit = Credit(allocation: allocation)
        do {
            registration = try guest.loop.add(
                file, [.readable, .writable, .finished, .edges], self)
        } catch {
            close(file)
            throw error
        }
    }

    // MARK: The client's side

    func handle(_ events: Events) {
        if !events.isDisjoint(with: [.readable, .finished, .broken]) { isReadable = true }
        if !events.isDisjoint(with: [.writable, .broken]) { flush() }
        guest.schedule(self)
    }

    /// Whether the guest's receive queue has work here.
    var wantsToSend: Bool {
        if isDraining { return false }
        if !owed.isEmpty { return true }
        guard isEstablished, isReadable, !clientFinished, !guestIsDeaf else { return false }
        if credit.available > 0 { return true }
        if !askedForCredit {
            askedForCredit = true
            owed.insert(.creditRequest)
            return true
        }
        return false
    }

    /// The next packet without bytes that is due; nil if bytes are.
    func takeOwed() -> VsockOperation? {
        let order: [(Owed, VsockOperation)] = [
            (.request, .request), (.reset, .reset), (.creditUpdate, .creditUpdate),
            (.creditRequest, .creditRequest), (.shutdown, .shutdown),
        ]
        for (bit, operation) in order where owed.contains(bit) {
            owed.remove(bit)
            return operation
        }
        return nil
    }

    /// Receives from the client into guest memory. Zero: there is nothing to send.
    func receive(into segments: SegmentList) -> Int {
        let count = segments.receive(from: file)
        if count > 0 {
            credit.send(count)
            return count
        }
        if count == 0 {
            clientFinished = true
            owed.insert(.shutdown)
        } else if errno == EAGAIN {
            isReadable = false
        } else if errno != EINTR {
            fail()
        }
        return 0
    }

    /// The client is gone: the guest hears of it.
    private func fail() {
        pending.removeAll()
        if isDraining {
            release()
        } else {
            owed = .reset
            guest.schedule(self)
        }
    }

    private func flush() {
        while !pending.isEmpty {
            let count = pending.send(to: file)
            if count < 0 {
                if errno == EINTR { continue }
                if errno != EAGAIN { fail() }
                return
            }
            credit.forward(count)
        }
        if isDraining {
            release()
            return
        }
        if credit.isUpdateDue { owed.insert(.creditUpdate) }
        if guestFinished { _ = Glibc.shutdown(file, Int32(SHUT_WR)) }
    }

    // MARK: The guest's side

    /// The guest accepted.
    func establish() {
        isEstablished = true
        guest.schedule(self)
    }

    /// The guest sent bytes; false if it had no right to.
    func take(_ body: SegmentList) -> Bool {
        let count = body.count
        guard isEstablished, !guestFinished, credit.receive(count) else { return false }
        var rest = body
        var sent = 0
        while pending.isEmpty, sent < count {
            let step = rest.send(to: file)
            if step < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { break }
                fail()
                return true
            }
            sent += step
            rest.removeFirst(step)
        }
        credit.forward(sent)
        if sent < count {
            var bytes = [UInt8](repeating: 0, count: count - sent)
            guard rest.read(&bytes) else { return false }
            pending.append(bytes)
        }
        if credit.isUpdateDue {
            owed.insert(.creditUpdate)
            guest.schedule(self)
        }
        return true
    }

    /// The guest's credit may have changed.
    func update(_ packet: VsockPacket) {
        credit.update(packet)
        if credit.available > 0 { askedForCredit = false }
        guest.schedule(self)
    }

    /// The guest will not send, or not receive, any more. True if it is neither.
    func shutdown(_ flags: UInt32) -> Bool {
        if flags & VsockPacket.noSend != 0, !guestFinished {
            guestFinished = true
            flush()
        }
        if flags & VsockPacket.noReceive != 0 { guestIsDeaf = true }
        return guestFinished && guestIsDeaf
    }

    /// The guest has forgotten the connection: what it sent before is written out first.
    func leave() {
        guard !isDraining else { return }
        isDraining = true
        owed = []
        guard !pending.isEmpty else {
            release()
            return
        }
        drainAlarm = guest.loop.after(milliseconds: Connection.drainTime) { [weak self] in
            self?.release()
        }
    }

    /// Closes the socket; with RST if the guest did not finish, so that the client can tell.
    func release() {
        guard let registration else { return }
        self.registration = nil
        if let drainAlarm { guest.loop.cancel(drainAlarm) }
        guest.loop.remove(registration)
        if !guestFinished || !pending.isEmpty { reset(file) } else { close(file) }
        pending.removeAll()
        guest.released(self)
    }
}

/// Bytes in order.
struct ByteQueue {
    private var bytes: [UInt8] = []
    private var start = 0

    var isEmpty: Bool { start == bytes.count }

    mutating func append(_ more: [UInt8]) { bytes += more }

    mutating func removeAll() {
        bytes = []
        start = 0
    }

    /// Sends from the front; sendmsg's result.
    mutating func send(to file: Int32) -> Int {
        // SAFETY: the pointer and the length stay within the array.
        let count = unsafe bytes[start...].withUnsafeBytes {
            unsafe Glibc.send(
                file, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        }
        if count > 0 { start += count }
        if isEmpty {
            removeAll()
        } else if start > 1 << 16 {
            bytes.removeFirst(start)
            start = 0
        }
        return count
    }
}
