// Package sqs is an SQS endpoint in memory: it speaks the AWS JSON 1.0 protocol that aws-sdk-go-v2 speaks, so programs
// talk to it with the real client.
//
// It keeps the promises of SQS that NthLayer leans on: FIFO order and the lock of a message group while one of its
// messages is in flight, deduplication for five minutes, visibility timeouts and their change, long polls, receive
// counts, the redrive policy to a dead-letter queue, message move tasks, batches that fail in part, and the service's
// own error codes. It leaves out what NthLayer does not use: policies, encryption, receive attempt ids and signatures
// (any credentials are accepted), so bind it to the loopback interface.
//
// queue is a pure state machine: no locks, no channels, no clock; the time is an argument. Server puts a lock, long
// polls and HTTP around it. Faults, loss of memory and the passing of time are steered through /_control.
package sqs
