import CHostShims
import Glibc
import Testing
import ToroTesting
import VhostUser

@testable import VsockDevice

/// The device as a program of its own: what it announces, how it ends, and what it leaves behind.
@Suite struct ServiceTests {
    /// Keeps the lines that are announced.
    private final class Lines {
        var all: [String] = []
        var warnings: [String] = []
    }

    private func path() -> String {
        "/tmp/toro-service-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    }

    private func exists(_ path: String) -> Bool {
        // SAFETY: the path is a C string for the call.
        unsafe access(path, F_OK) == 0
    }

    private func service(_ lines: Lines = Lines(), in world: World? = nil) throws -> Service {
        try Service(
            cid: 3, limits: FrontEnd.limits, loop: world?.loop ?? EventLoop(),
            announce: { lines.all.append($0) }, warn: { lines.warnings.append($0) })
    }

    /// Two ports of the host for one of the guest: each is announced once, by its own address.
    @Test func announcementsNameTheHostsAddress() throws {
        let lines = Lines()
        let world = try World()
        let service = try service(lines, in: world)
        let path = path()
        try service.publish(.tcp(host: "127.0.0.1", port: 0), guestPort: 80)
        try service.publish(.unix(path: path), guestPort: 80)
        try #require(lines.all.count == 2)
        let words = lines.all[0].split(separator: " ")
        try #require(words.count == 3)
        #expect(words[0] == "listening" && words[1].hasPrefix("127.0.0.1:") && words[2] == "80")
        #expect(words[1] != "127.0.0.1:0", "the port that it got")
        #expect(lines.all[1] == "listening unix:\(path) 80")
        let front = try FrontEnd(world: world, guest: service.guest)
        front.start()
        front.postReceiveBuffers()
        for _ in 0..<2 {
            front.transmit(front.answer(try #require(front.nextPacket()), 2))
        }
        #expect(lines.all.dropFirst(2) == ["ready \(words[1]) 80", "ready unix:\(path) 80"])
    }

    /// What an operator must hear of: a port that nobody serves, and interrupts that got lost.
    @Test func whatIsWrongIsSaid() throws {
        let (lines, world) = (Lines(), try World())
        let service = try service(lines, in: world)
        let path = path()
        try service.publish(.unix(path: path), guestPort: 80)
        let front = try FrontEnd(world: world, guest: service.guest)
        front.start()
        front.postReceiveBuffers()
        let probe = try #require(front.nextPacket())
        world.advance(seconds: 11)
        #expect(lines.all.last == "silent unix:\(path) 80")
        front.transmit(front.answer(probe, 2))
        #expect(lines.all.last == "ready unix:\(path) 80")
        while front.nextPacket() != nil {}
        #expect(lines.warnings.isEmpty)
        front.rings[FrontEnd.receive].wantInterrupt()
        let client = try Client(path)
        world.advance(milliseconds: 100)
        #expect(front.nextPacket()?.operation == 1)
        world.advance(milliseconds: 100)
        #expect(lines.warnings == ["guest 3 missed 1 interrupts, which were repeated"])
        client.leave()
    }

    /// The only guest there is: the program ends, and says what the guest did.
    @Test func aBrokenGuestEndsTheProgram() throws {
        let world = try World()
        let service = try service(in: world)
        let front = try FrontEnd(world: world, guest: service.guest)
        front.start()
        front.rings[FrontEnd.transmit].offer(head: 99)
        front.kick(FrontEnd.transmit)
        front.hangUp()
        front.settle()
        let error = #expect(throws: HostError.self) { try service.run() }
        #expect(error?.description.contains("broke its transmit queue") == true)
        #expect(error?.description.contains("a descriptor chain") == true)
    }

    @Test func anOrderlyEndIsNone() throws {
        let world = try World()
        let service = try service(in: world)
        let front = try FrontEnd(world: world, guest: service.guest)
        front.start()
        front.hangUp()
        front.settle()
        try service.run()
    }

    @Test func noNamesAreLeftBehind() throws {
        let (published, door) = (path(), path())
        for _ in 0..<2 {
            let service = try service()
            try service.publish(.unix(path: published), guestPort: 80)
            try service.open(door)
            #expect(exists(published) && exists(door))
        }
        #expect(!exists(published) && !exists(door))
    }

    /// What a process left behind that was killed.
    @Test func aNameThatNobodyListensOnIsReplaced() throws {
        let path = path()
        let first = try HostAddress.unix(path: path).listen()
        let second = try #require(link(path))
        first.close()
        #expect(!exists(path))
        // SAFETY: both are C strings for the call.
        #expect(unsafe rename(second, path) == 0)
        let listener = try HostAddress.unix(path: path).listen()
        try Client(path).leave()
        listener.close()
        #expect(!exists(path))
    }

    /// A second name of the same socket.
    private func link(_ path: String) -> String? {
        // SAFETY: both are C strings for the call.
        unsafe Glibc.link(path, path + "-2") == 0 ? path + "-2" : nil
    }

    @Test func aNameThatSomebodyListensOnIsNot() throws {
        let path = path()
        let first = try HostAddress.unix(path: path).listen()
        #expect(throws: HostError("unix:\(path) is in use: choose another path")) {
            try HostAddress.unix(path: path).listen()
        }
        try Client(path).leave()
        first.close()
    }

    /// A file is none of the device's business, and neither is another process's socket.
    @Test func onlyTheOwnSocketIsTakenAway() throws {
        let path = path()
        let first = try HostAddress.unix(path: path).listen()
        // SAFETY: the path is a C string for the call.
        #expect(unsafe unlink(path) == 0)
        // SAFETY: as above.
        let file = unsafe open(path, O_CREAT | O_WRONLY, 0o600)
        close(file)
        first.close()
        #expect(exists(path))
        #expect(throws: HostError.self) { try HostAddress.unix(path: path).listen() }
        #expect(exists(path))
        // SAFETY: as above.
        #expect(unsafe unlink(path) == 0)
    }
}
