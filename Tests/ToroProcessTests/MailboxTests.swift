import Testing
import ToroCore
import ToroProcess

@Suite struct MailboxTests {
    @Test @Core func deliversInOrderAndSaysWhenToWake() {
        let (mailbox, log) = (Mailbox(), Log())
        #expect(!mailbox.deliver())
        #expect(mailbox.post { log.entries.append(1) })
        #expect(!mailbox.post { log.entries.append(2) })
        #expect(mailbox.deliver())
        #expect(log.entries == [1, 2])
        #expect(
            mailbox.post {
                _ = mailbox.post { log.entries.append(4) }
                log.entries.append(3)
            })
        #expect(mailbox.deliver() && mailbox.deliver() && !mailbox.deliver())
        #expect(log.entries == [1, 2, 3, 4])
    }

    /// Threads of the host post at once while this one delivers: nothing is lost or doubled, and
    /// what one of them posts comes in its order.
    @Test @Core func losesNothingUnderContention() async {
        let (mailbox, seen) = (Mailbox(), Seen())
        let (posters, each) = (4, 5_000)
        let work = Task.detached {
            await withDiscardingTaskGroup { group in
                for poster in 0..<posters {
                    group.addTask {
                        for number in 0..<each {
                            _ = mailbox.post { seen.note(poster, number) }
                        }
                    }
                }
            }
        }
        while seen.count < posters * each {
            _ = mailbox.deliver()
            await Task.yield()
        }
        await work.value
        #expect(!mailbox.deliver())
        #expect(seen.isInOrder)
        #expect(seen.next == [Int](repeating: each, count: posters))
    }

    @Test @Core func whatIsNeverDeliveredIsReleased() {
        weak var witness: Log?
        do {
            let (mailbox, log) = (Mailbox(), Log())
            witness = log
            for _ in 0..<3 { _ = mailbox.post { log.entries.append(1) } }
            #expect(witness != nil)
        }
        #expect(witness == nil)
    }
}

/// How far each poster has come.
@Core final class Seen {
    var next = [0, 0, 0, 0]
    var isInOrder = true
    var count: Int { next.reduce(0, +) }

    func note(_ poster: Int, _ number: Int) {
        isInOrder = isInOrder && next[poster] == number
        next[poster] = number + 1
    }
}
