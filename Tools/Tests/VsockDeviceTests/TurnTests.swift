import Glibc
import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// Guests that take turns at one listener: the clients go to the one whose turn it is.
@Suite struct TurnTests {
    /// Two guests that listen, at the same socket of the host; the second waits for its turn.
    private final class Pair {
        let world: World
        let address: HostAddress
        let fronts: [FrontEnd]
        private let listener: HostListener
        var haveLeft = 0

        init(isListening: Bool = true) throws {
            let world = try World()
            self.world = world
            listener = try HostAddress.tcp(host: "127.0.0.1", port: 0).listen()
            address = listener.address
            fronts = try [3, 4].map { try FrontEnd(world: world, cid: $0) }
            fronts[1].guest.waitForTurn()
            for front in fronts {
                front.guest.onLeft = { [unowned self] in haveLeft += 1 }
                let shared = try #require(
                    HostListener(inherited: listener.files.map { dup($0) }, address))
                front.guest.publish(shared, guestPort: 80)
                front.start()
                front.postReceiveBuffers()
                guard isListening || front === fronts[0] else { continue }
                front.transmit(front.answer(try #require(front.nextPacket()), 2))
                #expect(front.nextPacket()?.operation == 3)
            }
        }

        /// A client whose connection a guest has accepted, with the request.
        func open(at index: Int) throws -> (client: Client, request: VsockPacket) {
            let client = try Client(address)
            return (client, try accept(at: index))
        }

        func accept(at index: Int) throws -> VsockPacket {
            let request = try #require(fronts[index].nextPacket())
            #expect(request.operation == 1)
            var response = fronts[index].answer(request, 2)
            response.bufferAllocation = 65_536
            #expect(fronts[index].transmit(response))
            return request
        }
    }

    @Test func clientsGoToTheGuestWhoseTurnItIs() throws {
        let pair = try Pair()
        _ = try pair.open(at: 0)
        pair.fronts[0].guest.leave()
        let waiting = try Client(pair.address)
        pair.world.advance(milliseconds: 100)
        #expect(pair.fronts.allSatisfy { $0.nextPacket()?.operation != 1 })
        #expect(waiting.receive() == .nothing)
        pair.fronts[1].guest.open()
        let request = try pair.accept(at: 1)
        pair.fronts[1].transmit(pair.fronts[1].answer(request, 5, [7]))
        #expect(waiting.next() == .bytes([7]))
        _ = try pair.open(at: 1)
    }

    /// A guest that does not listen turns nobody away while it is another's turn.
    @Test func aSilentSuccessorTurnsNobodyAway() throws {
        let pair = try Pair(isListening: false)
        pair.world.advance(seconds: 11)
        #expect(pair.fronts[1].silentPorts == [80])
        let (client, request) = try pair.open(at: 0)
        pair.fronts[0].transmit(pair.fronts[0].answer(request, 5, [7]))
        #expect(client.next() == .bytes([7]))
        pair.fronts[0].guest.leave()
        pair.fronts[1].guest.open()
        let other = try Client(pair.address)
        pair.world.settle()
        #expect(other.isAtEnd(), "it is turned away now")
    }

    /// A client that waits for its answer gets it; one that rests is done with.
    @Test func aGuestLeavesWhenItsClientsRest() throws {
        let pair = try Pair()
        let front = pair.fronts[0]
        let (client, request) = try pair.open(at: 0)
        client.send([1, 2, 3])
        #expect(front.nextPacket()?.operation == 5)
        front.guest.leave()
        pair.world.advance(seconds: 5)
        #expect(front.nextPacket() == nil, "it owes an answer")
        front.transmit(front.answer(request, 5, [4, 5, 6]))
        #expect(client.next() == .bytes([4, 5, 6]))
        pair.world.advance(milliseconds: 200)
        var ends: [VsockPacket] = []
        while let packet = front.nextPacket() { ends.append(packet) }
        #expect(ends.map(\.operation) == [4] && ends.map(\.flags) == [2], "it sends no more")
        #expect(pair.haveLeft == 0)
        front.transmit(front.answer(request, 4, flags: 3))
        #expect(client.next() == .end)
        client.leave()
        pair.world.advance(milliseconds: 200)
        #expect(pair.haveLeft == 1)
        #expect(front.guest.openCount == 0)
    }

    @Test func onlyAListenerIsInherited() throws {
        let ends = try FrontEnd.pair(SOCK_STREAM)
        defer { for end in [ends.device, ends.own] { close(end) } }
        let address = HostAddress.tcp(host: "127.0.0.1", port: 1)
        #expect(HostListener(inherited: [ends.own], address) == nil)
        #expect(HostListener(inherited: [-1], address) == nil)
    }
}
