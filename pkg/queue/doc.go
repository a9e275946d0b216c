// Package queue moves messages through SQS FIFO queues: a producer, a consumer and the relay of the transactional
// outbox. It is the only package that imports the SQS SDK; its errors are faults.
//
// What it guarantees:
//
//   - At least once. A message is deleted only after its handler returned nil. A handler that fails, panics, loses its
//     process or outlives its visibility sees the message again; handlers must therefore be idempotent.
//   - In order within a group. SQS hands out the next message of a group only when the one before is deleted, and a
//     consumer works on messages of one group one after the other, also when one receive brought several. The exception
//     is a batch that the queue accepts in part: the refused messages come later than their followers.
//   - No message waits for a stopped consumer. A consumer that drains gives back at once what it did not finish.
//   - Nothing is lost between the database and the queue. The relay deletes an outbox row only after SQS has accepted its
//     message, and a send with an unknown outcome is repeated under the same deduplication id.
//
// One thing to know about receive counts: SQS counts a receive for every message a batch brings. Messages that wait
// behind a failing one of their group are given back unhandled, and yet one receive nearer to the dead-letter queue.
package queue
