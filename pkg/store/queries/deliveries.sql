-- name: InsertDelivery :execrows
INSERT INTO deliveries (delivery_key, job_id, medium, channel, payload)
VALUES (@delivery_key, @job_id, @medium, @channel, @payload)
ON CONFLICT (delivery_key) DO NOTHING;
