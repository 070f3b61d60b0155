import ToroCore

extension HTTPConnection {
    /// Called when a deadline has passed, `.send` for a peer that takes nothing: ends what waits.
    func expire(_ phase: HTTPDeadline.Phase) {
        isOver = true
        switch phase {
        case .idle: stream.close()
        case .send: stream.abort()
        case .head, .body:
            if unread != nil {
                // The answer is out, and the rest of the request was for nobody.
                stream.close()
            } else if responseStarted {
                stream.abort()
            } else {
                answerLate()
            }
        }
    }

    /// Makes room for another connection: ends in order between two requests, and with 408 within a
    /// head if the client is there to read it.
    func giveWay() {
        isOver = true
        timer.clear()
        if isBetweenRequests || !stream.progress.isComplete {
            stream.close()
        } else {
            answerLate()
        }
    }

    /// Answers 408 if there is memory for that, and closes. Our own task is in `receive`, and only a
    /// closed stream ends that: hence a task beside it.
    private func answerLate() {
        guard service.admitsLastWord(self) else { return stream.close() }
        let isDone = Waiter<Bool>()
        lateAnswer = isDone
        Core.spawn { [self] in
            await sendLast(.requestTimeout)
            stream.close()
            isDone.resume(true)
        }
    }
}
